/*
 * How a log gets its next checkpoint. The last one signed is kept outside of the database; nothing is signed that does not extend it.
 *
 *   1 read      the last checkpoint from its file; size, tree and newest checkpoint from the database, as committed
 *   2 catch up  when events of an earlier release are not in the tree
 *   3 compare   the tree's root, computed anew from tiles and leaves, with the tree state; then the root at each earlier
 *               checkpoint's size with that checkpoint's, and the proof that it is extended
 *   4 sign      with every key
 *   5 keep      in the file, on disk
 *   6 publish   in the database
 *
 * Dying before 5 leaves no trace. Between 5 and 6 the file holds a checkpoint that nobody has seen: the next time, when the log still
 * extends it, it is published first. A database put back to an earlier time is at first smaller than the last checkpoint
 * (rolled back), and once it has grown past it either has the same leaves again, and all is well, or others, for ever (forked).
 */
import type { KeyObject } from "node:crypto";
import type { Pool } from "pg";
import { formatCheckpoint } from "#libs/merkle/checkpoint.ts";
import { proveConsistency, rootAt } from "#libs/merkle/prove.ts";
import { createNoteSigner, signNote } from "#libs/merkle/signed-note.ts";
import type { ReadTile } from "#libs/merkle/tile.ts";
import { rootOf } from "#libs/merkle/tree.ts";
import { verifyConsistency } from "#libs/merkle/verify-proof.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import {
  findLogHead,
  insertCheckpoint,
  insertVerifierKeys,
  toLogHead,
  type StoredCheckpoint,
} from "../store/checkpoints.ts";
import { createTileReader } from "../store/tile-reader.ts";
import { TreeDamagedError } from "../store/tree-damaged.ts";
import {
  readSignedCheckpoint,
  UnusableCheckpointError,
  type LastCheckpoints,
  type SignedCheckpoint,
} from "./last-checkpoints.ts";

export interface SealDependencies {
  /** As the signer's role. */
  readonly pool: Pool;
  readonly keys: readonly KeyObject[];
  /** Of the logs, without the tenant. */
  readonly origin: string;
  readonly last: LastCheckpoints;
  /** Takes into the tree what it lacks of its log. */
  readonly catchUp: (tenantId: string) => Promise<void>;
  readonly now: () => Date;
}

/**
 * Why a log is not signed.
 *
 *   rolled_back        the database holds less of it than was signed
 *   forked             it holds other events than were signed, or in another order
 *   damaged            its rows contradict each other, or some are missing
 *   state_unusable     the file with its last checkpoint is missing or is none of this log
 */
export type RefusalReason = "rolled_back" | "forked" | "damaged" | "state_unusable";

export type Sealing =
  | { readonly kind: "sealed"; readonly treeSize: number }
  | { readonly kind: "unchanged" }
  | { readonly kind: "refused"; readonly why: RefusalReason; readonly detail: string };

const statementTimeoutMs = 10_000;
/** For what is published, whatever the database's default: once the file has a later one, nothing would bring it back. */
const onDisk = { synchronous_commit: "on" };

/** Signs what the tenant's log has that no checkpoint covers, or says why not. Throws what `runForTenant` throws, and of files. */
export async function sealLog(dependencies: SealDependencies, tenantId: string): Promise<Sealing> {
  try {
    return await seal(dependencies, tenantId);
  } catch (error) {
    if (error instanceof TreeDamagedError) return refused("damaged", error.message);
    if (error instanceof UnusableCheckpointError) return refused("state_unusable", error.message);
    throw error;
  }
}

async function seal(dependencies: SealDependencies, tenantId: string): Promise<Sealing> {
  const { pool, origin, keys, last, catchUp, now } = dependencies;
  const name = `${origin}/${tenantId}`;
  const options = { tenantId, timeoutMs: statementTimeoutMs, planEachTime: true };
  const run = async (statements: readonly Statement[]) =>
    runForTenant(pool, { ...options, readOnly: true }, statements);

  const signed = await last.read(tenantId);
  const readHead = async () => toLogHead((await run([findLogHead(tenantId)]))[0]?.rows[0]);
  let head = await readHead();
  if (head.tree.size < head.size) {
    await catchUp(tenantId);
    head = await readHead();
  }
  const { tree, checkpoint } = head;
  if (checkpoint && !signed) return refused("state_unusable", "there is none, though the database has one");
  const published = checkpoint && readPublished(checkpoint, name);
  const newest = Math.max(signed?.size ?? 0, published?.size ?? 0);
  if (tree.size < newest) return refused("rolled_back", `${tree.size} leaves are left of ${newest}`);
  if (tree.size === 0) return { kind: "unchanged" };

  const readTile = createTileReader(async (statement) => (await run([statement]))[0]!, tenantId, tree.size);
  const current = { size: tree.size, root: await rootAt(tree.size, readTile) };
  if (!isEqual(current.root, rootOf(tree))) return refused("damaged", "the tree is not that of its leaves");
  // The same one twice, as a rule.
  for (const earlier of signed?.note === published?.note ? [signed] : [signed, published]) {
    if (earlier && !(await isExtended(earlier, current, readTile)))
      return refused("forked", `the first ${earlier.size} leaves are not those that were signed`);
  }

  const signers = keys.map((key) => createNoteSigner(name, key));
  const publish = async (treeSize: number, note: string) => {
    const nowMicros = BigInt(now().getTime()) * 1_000n;
    const before = checkpoint?.sealedAtMicros ?? nowMicros;
    const sealedAtMicros = before > nowMicros ? before : nowMicros; // Clocks go back; the record does not.
    const vkeys = signers.map(({ vkey }) => vkey);
    const statements = [
      insertVerifierKeys(tenantId, vkeys, sealedAtMicros),
      insertCheckpoint(tenantId, { treeSize, note, sealedAtMicros }),
    ];
    await runForTenant(pool, { ...options, settings: onDisk }, statements);
  };
  if (signed && signed.size > (published?.size ?? 0)) await publish(signed.size, signed.note);
  if (signed && published && signed.size < published.size) await last.write(tenantId, published.note);
  if (tree.size === newest) return { kind: "unchanged" };

  const note = signNote(formatCheckpoint({ origin: name, ...current }), signers);
  await last.write(tenantId, note);
  await publish(tree.size, note);
  return { kind: "sealed", treeSize: tree.size };
}

/** The newest checkpoint of the database. Throws `TreeDamagedError` when it is none of this log. */
function readPublished({ note, treeSize }: StoredCheckpoint, origin: string): SignedCheckpoint {
  try {
    const published = readSignedCheckpoint(note, origin);
    if (published.size === treeSize) return published;
  } catch (error) {
    if (!(error instanceof UnusableCheckpointError)) throw error;
  }
  throw new TreeDamagedError(`the stored checkpoint of ${treeSize} leaves is none of this log`);
}

interface Root {
  readonly size: number;
  readonly root: Uint8Array;
}

/** Whether the earlier tree is what the database has at that size, and the later one begins with it. */
async function isExtended(earlier: SignedCheckpoint, later: Root, readTile: ReadTile): Promise<boolean> {
  const [first, second] = [earlier.size, later.size];
  if (!isEqual(await rootAt(first, readTile), earlier.root)) return false;
  const proof = await proveConsistency(first, second, readTile);
  return verifyConsistency({ first, second, firstRoot: earlier.root, secondRoot: later.root, proof });
}

function refused(why: RefusalReason, detail: string): Sealing {
  return { kind: "refused", why, detail };
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
