import type { Pool, QueryResult } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { proveConsistency, proveInclusion } from "#libs/merkle/prove.ts";
import type { ReadTile } from "#libs/merkle/tile.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import type { Reason } from "../domain/reason.ts";
import {
  findLogHead,
  listVerifierKeys,
  toLogHead,
  type LogHead,
  type StoredCheckpoint,
} from "../store/checkpoints.ts";
import { findEvent } from "../store/events.ts";
import { createTileReader } from "../store/tile-reader.ts";
import type { Reader } from "./read-rows.ts";

export interface NewestCheckpoint extends StoredCheckpoint {
  /** Events of the log that it does not cover. */
  readonly unsealedCount: number;
  /** Every key that has signed the log, as C2SP verifier keys, newest first. */
  readonly verifierKeys: readonly string[];
}

export interface InclusionProof {
  readonly leafIndex: bigint;
  readonly treeSize: bigint;
  readonly hashes: Uint8Array[];
  /** The newest checkpoint; a C2SP signed note. */
  readonly checkpoint: string;
}

export interface ConsistencyProof {
  readonly firstSize: bigint;
  readonly secondSize: bigint;
  readonly hashes: Uint8Array[];
  /** The newest checkpoint; a C2SP signed note. */
  readonly checkpoint: string;
}

/** Which leaf a proof is about. */
export type Leaf = { readonly eventId: string } | { readonly leafIndex: bigint };

/** Proofs are of sizes up to the newest checkpoint's, and size 0 stands for that. Fault INVALID_REQUEST for others. */
export interface ReadProofs {
  /** Fault CHECKPOINT_NOT_FOUND before the first one. */
  checkpoint(reader: Reader): Promise<NewestCheckpoint>;
  /** Faults EVENT_NOT_FOUND, and CHECKPOINT_NOT_FOUND while no checkpoint covers the event. */
  inclusion(reader: Reader, leaf: Leaf, treeSize: bigint): Promise<InclusionProof>;
  /** Fault CHECKPOINT_NOT_FOUND before the first one. */
  consistency(reader: Reader, firstSize: bigint, secondSize: bigint): Promise<ConsistencyProof>;
}

/** How soon a checkpoint comes where logs are signed. */
const retryAfterMs = 1_000;

/** Reads checkpoints and makes proofs, out of tiles and leaves; all faults as `reportDatabaseFaults` says, too. */
export function createReadProofs(pool: Pool): ReadProofs {
  const read = ({ tenantId, remainingMs, signal }: Reader, statements: readonly Statement[]) => {
    const options = { tenantId, timeoutMs: remainingMs(), signal, readOnly: true, planEachTime: true };
    return reportDatabaseFaults(() => runForTenant(pool, options, statements));
  };
  const tilesOf = (reader: Reader, { tree }: LogHead): ReadTile => {
    const run = async (statement: Statement): Promise<QueryResult> => {
      const [result] = await read(reader, [statement]);
      return result!; // One a statement.
    };
    return createTileReader(run, reader.tenantId, tree.size);
  };
  return {
    async checkpoint(reader) {
      const { tenantId } = reader;
      const [heads, keys] = await read(reader, [findLogHead(tenantId), listVerifierKeys(tenantId)]);
      const head = toLogHead(heads?.rows[0]);
      const newest = newestOf(head);
      return {
        ...newest,
        unsealedCount: head.size - newest.treeSize,
        verifierKeys: keys?.rows.map(({ vkey }: { vkey: string }) => vkey) ?? [],
      };
    },

    async inclusion(reader, leaf, treeSize) {
      const byId = "eventId" in leaf ? [findEvent(reader.tenantId, leaf.eventId)] : [];
      // The log after the event: one that is appended in between is in both.
      const results = await read(reader, [...byId, findLogHead(reader.tenantId)]);
      const head = toLogHead(results.at(-1)?.rows[0]);
      if (head.checkpoint) checkSize("tree_size", treeSize, 0n, head.checkpoint.treeSize);
      const found = "eventId" in leaf ? results[0]?.rows[0]?.leaf_index : leaf.leafIndex;
      if (found === undefined || BigInt(found) >= head.size)
        throw new Fault<Reason>("EVENT_NOT_FOUND", "eventId" in leaf ? { event_id: leaf.eventId } : {});
      const leafIndex = BigInt(found);
      const newest = newestOf(head);
      if (treeSize === 0n && leafIndex >= newest.treeSize) throw notSealed();
      const size = treeSize || BigInt(newest.treeSize);
      checkSize("tree_size", size, leafIndex + 1n, newest.treeSize);
      const hashes = await proveInclusion(Number(leafIndex), Number(size), tilesOf(reader, head));
      return { leafIndex, treeSize: size, hashes, checkpoint: newest.note };
    },

    async consistency(reader, firstSize, secondSize) {
      const [heads] = await read(reader, [findLogHead(reader.tenantId)]);
      const head = toLogHead(heads?.rows[0]);
      const newest = newestOf(head);
      checkSize("first_size", firstSize, 1n, newest.treeSize);
      const second = secondSize || BigInt(newest.treeSize);
      checkSize("second_size", second, firstSize, newest.treeSize);
      const hashes = await proveConsistency(Number(firstSize), Number(second), tilesOf(reader, head));
      return { firstSize, secondSize: second, hashes, checkpoint: newest.note };
    },
  };
}

function newestOf({ checkpoint }: LogHead): StoredCheckpoint {
  if (!checkpoint) throw notSealed();
  return checkpoint;
}

function checkSize(field: string, size: bigint, least: bigint, most: number): void {
  if (size >= least && size <= BigInt(most)) return;
  const description = `must be from ${least} to ${most}, the size of the newest checkpoint`;
  throw new Fault<Reason>("INVALID_REQUEST", {}, { fields: [{ field, description }] });
}

function notSealed(): Fault<Reason> {
  return new Fault("CHECKPOINT_NOT_FOUND", {}, { retryAfterMs });
}
