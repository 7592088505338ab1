/*
 * An export: what of a tenant's log fits a filter, as a file in pieces, below the size of the newest checkpoint when it began.
 *
 *   checkpoint   bounds the export: what comes later is not in it, so that all of it is what one signature covers
 *   page         a few events are read, checked and written; the next page is read once the caller has taken them, and in
 *                between no connection is held
 *   close        what the format ends with, and the manifest, which says what the file holds
 *
 * Whole logs are counted while they are read: a leaf that is missing in the database, or does not have its digest, ends the export
 * with an error behind all that come before it, and not with a file that has a hole.
 */
import { createHash, type Hash } from "node:crypto";
import type { Pool } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { listeningMs } from "#libs/service/listener.ts";
import { createStreamPlaces, type StreamLimits } from "#libs/service/stream-places.ts";
import type { EventFilter, StoredEvent } from "../domain/event.ts";
import { type ExportBound, formatManifest } from "../domain/manifest.ts";
import type { Reason } from "../domain/reason.ts";
import { findLogHead, type StoredCheckpoint, toLogHead } from "../store/checkpoints.ts";
import { listEvents, type ListedEventRow } from "../store/list-events.ts";
import type { AccessLog } from "./access-log.ts";
import type { CheckEvent } from "./check-event.ts";
import { describeFilter } from "./describe-filter.ts";
import { readRows } from "./read-rows.ts";
import type { ListeningAuditor } from "./tail-events.ts";

/** How a file is written. */
export interface EventWriter {
  /** Names the format in the manifest. */
  readonly format: string;
  readonly header: string;
  readonly toLine: (event: StoredEvent) => string;
  /** What the file ends with, given the checkpoint. */
  readonly toFooter: (note: string) => string;
}

export interface ExportRequest {
  readonly auditor: ListeningAuditor;
  readonly filter: EventFilter;
  /** Events before this leaf are left out. */
  readonly fromLeafIndex: bigint;
  readonly writer: EventWriter;
}

export interface ExportPiece {
  /** Bytes of the file; at most 1 MiB. */
  readonly data: Uint8Array;
  /** Empty in all pieces but the last, and there where no key is at hand to sign it. */
  readonly manifest: string;
}

/**
 * Exports events. Faults CHECKPOINT_NOT_FOUND while the log was never signed, RATE_LIMITED (too many exports), UNAUTHENTICATED once
 * the caller's token is not good any more, and what `reportDatabaseFaults` makes of outages.
 */
export type ExportEvents = (request: ExportRequest) => AsyncIterable<ExportPiece>;

export interface ExportEventsDependencies {
  readonly pool: Pool;
  readonly now: () => Date;
  readonly accessLog: AccessLog;
  readonly checkEvent: CheckEvent;
  /** Makes a signed note of a text, by the keys of the tenant's log; `undefined`: this process has none. */
  readonly signNote: ((tenantId: string, text: string) => string) | undefined;
  readonly limits: StreamLimits;
}

const pageCountMax = 500;
const pageWeight = { bytesMax: 512 * 1024, perEventByte: 1, perEvent: 0 };
const pieceBytesMax = 1024 * 1024;

export function createExportEvents(dependencies: ExportEventsDependencies): ExportEvents {
  const { pool, accessLog, signNote, limits } = dependencies;
  const places = createStreamPlaces(limits);

  async function* write(
    { auditor, filter, fromLeafIndex, writer }: ExportRequest,
    { treeSize, note }: StoredCheckpoint,
    tell: (leafIndex: bigint) => void,
  ): AsyncIterable<ExportPiece> {
    const hash = createHash("sha256");
    let eventCount = 0;
    let firstLeafIndex: bigint | undefined;
    let lastLeafIndex: bigint | undefined;

    yield* cut(writer.header, hash);
    for await (const events of pagesOf(dependencies, auditor, filter, {
      fromLeafIndex,
      treeSize: BigInt(treeSize),
    })) {
      for (const { leafIndex } of events) tell(leafIndex);
      eventCount += events.length;
      firstLeafIndex ??= events[0]?.leafIndex;
      lastLeafIndex = events.at(-1)?.leafIndex;
      yield* cut(events.map(writer.toLine).join(""), hash);
    }
    yield* cut(writer.toFooter(note), hash);
    if (!signNote) return;
    const { tenantId } = auditor;
    const manifest = formatManifest({
      ...{ tenantId, format: writer.format, filter: describeFilter(filter, fromLeafIndex) },
      checkpoint: boundOf(note),
      ...{ eventCount, firstLeafIndex, lastLeafIndex, sha256: hash.digest("base64") },
    });
    yield { data: new Uint8Array(), manifest: signNote(tenantId, manifest) };
  }

  return async function* exportEvents(request) {
    const { auditor, filter, fromLeafIndex } = request;
    using _place = places.take(auditor.tenantId);
    const { rows } = await readRows(pool, auditor, findLogHead(auditor.tenantId));
    const { checkpoint } = toLogHead(rows[0]);
    if (!checkpoint) throw new Fault<Reason>("CHECKPOINT_NOT_FOUND");
    const query = { method: "ExportEvents", filter: describeFilter(filter, fromLeafIndex) } as const;
    yield* accessLog.around(auditor, query, (tell) => write(request, checkpoint, tell));
  };
}

/** What the checkpoint says, from the text of its note. */
function boundOf(note: string): ExportBound {
  const { origin, size, root } = readCheckpoint(note.slice(0, note.indexOf("\n\n") + 1));
  return { origin, treeSize: size, rootHash: encodeBase64(root) };
}

function* cut(text: string, hash: Hash): Iterable<ExportPiece> {
  const bytes = Buffer.from(text, "utf8");
  hash.update(bytes);
  for (let at = 0; at < bytes.length; at += pieceBytesMax) {
    yield { data: bytes.subarray(at, at + pieceBytesMax), manifest: "" };
  }
}

/** The events that fit, page by page, of the first `treeSize` leaves. Throws when a log that is read without a filter lacks one. */
async function* pagesOf(
  { pool, now, checkEvent }: ExportEventsDependencies,
  auditor: ListeningAuditor,
  filter: EventFilter,
  { fromLeafIndex, treeSize }: { readonly fromLeafIndex: bigint; readonly treeSize: bigint },
): AsyncIterable<readonly StoredEvent[]> {
  if (fromLeafIndex >= treeSize) return;
  const { tenantId } = auditor;
  const isWhole = Object.keys(filter).length === 0;
  const page = { pageSize: pageCountMax, weight: pageWeight, beforeLeafIndex: treeSize };
  let passed = fromLeafIndex;
  for (let more = true; more;) {
    listeningMs(auditor, { now });
    await auditor.verifyAgain();
    const statement = listEvents({ tenantId, filter, afterLeafIndex: passed - 1n, ...page });
    const { rows }: { readonly rows: ListedEventRow[] } = await readRows(pool, auditor, statement);
    const from = passed;
    const { events, damage } = takeSound(rows, (row, at) => {
      const event = checkEvent(tenantId, row);
      if (isWhole && event.leafIndex !== from + BigInt(at)) throw missing(from + BigInt(at), treeSize);
      return event;
    });
    passed = (events.at(-1)?.leafIndex ?? from - 1n) + 1n;
    if (events.length > 0) yield events;
    if (damage) throw damage.why;
    more = Number(rows[0]?.found ?? 0) > rows.length;
    if (isWhole && !more && passed !== treeSize) throw missing(passed, treeSize);
  }
}

/** The rows up to the first that cannot be taken, and why it cannot: how far an export came says which one it is. */
function takeSound<Row, Taken>(
  rows: readonly Row[],
  take: (row: Row, at: number) => Taken,
): { readonly events: readonly Taken[]; readonly damage?: { readonly why: unknown } } {
  const events: Taken[] = [];
  try {
    for (const [at, row] of rows.entries()) events.push(take(row, at));
  } catch (why) {
    return { events, damage: { why } };
  }
  return { events };
}

function missing(leafIndex: bigint, treeSize: bigint): Error {
  return new Error(`leaf ${leafIndex} is missing, of ${treeSize} that were signed`);
}
