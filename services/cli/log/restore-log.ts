/*
 * Gives an audit service the events of a mirror that it lacks: for a database that was restored from a backup older than the
 * newest checkpoint. The signer refuses to sign until the log is again what was signed, leaf by leaf.
 *
 *   1 hold     the mirror's entries against its signed checkpoint: nothing else is sent on
 *   2 find     up to which leaf the service has them; a restored log has a beginning of the mirror's and nothing else
 *   3 send     the rest in the order of the leaves, the first one alone: each must get the leaf that it had
 *
 * It may be stopped or killed, and run again. While it runs nobody else may deliver: an event in between would take a leaf.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { DeliveryOutcome, type EventOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { tileWidth } from "#libs/merkle/tile.ts";

import { Failure } from "../failure.ts";
import { type Fault, Unverified, unreadable } from "../verify/fault.ts";
import { growTree, isSame } from "../verify/hash-tree.ts";
import type { ReadMirrorFile } from "../verify/mirror-files.ts";
import { readEntries, readMirrorCheckpoint } from "../verify/mirror-tiles.ts";
import { decodeEvent } from "../verify/read-event.ts";
import { type LogKeys, readSigned, type SignedCheckpoint } from "../verify/read-signed.ts";

export interface RestoreOptions {
  readonly read: ReadMirrorFile;
  readonly keys: LogKeys;
  /** May read the tenant's log and speak for the sources of its events. */
  readonly audit: AuditClient;
  /** Called for each event that was sent. */
  readonly onSent?: () => void;
}

export interface Restored {
  readonly sentCount: number;
  readonly checkpoint: SignedCheckpoint;
}

const batchMax = 500;
/** One event may go above it; a request has at most 4 MiB. */
const batchBytesMax = 1024 * 1024;

/**
 * Throws `Unverified`: root when the mirror is not what was signed, fork when the service has events that the mirror has not; `Failure`
 * when the service will not take an event.
 */
export async function restoreLog(options: RestoreOptions): Promise<Restored> {
  const { read, keys, audit, onSent } = options;
  const checkpoint = readSigned(await readMirrorCheckpoint(read), keys, "The mirror's checkpoint");
  await holdToRoot(read, checkpoint);
  const start = await findFirstMissing(audit, read, checkpoint.size);
  if (start < checkpoint.size) await refuseOthers(audit, start);
  let next = start;
  for await (const events of batch(readEntriesFrom(read, start, checkpoint.size))) {
    const { outcomes } = await audit.recordEvents({ events });
    for (const outcome of outcomes) {
      const fault = findFault(outcome, next);
      if (fault) throw new Unverified(fault);
      next += 1;
      onSent?.();
    }
  }
  return { sentCount: checkpoint.size - start, checkpoint };
}

async function holdToRoot(read: ReadMirrorFile, { size, root }: SignedCheckpoint): Promise<void> {
  const tree = growTree(undefined);
  for await (const entry of readEntriesFrom(read, 0, size)) tree.add(hashLeaf(entry));
  if (isSame(tree.root(), root)) return;
  throw new Unverified({
    kind: "root",
    what: "The entries of the mirror are not those that its checkpoint was signed over.",
  });
}

async function* readEntriesFrom(
  read: ReadMirrorFile,
  start: number,
  size: number,
): AsyncGenerator<Uint8Array, undefined> {
  for (let at = start; at < size; at += tileWidth - (at % tileWidth)) {
    const index = Math.floor(at / tileWidth);
    const entries = await readEntries(read, index, Math.min(tileWidth, size - index * tileWidth));
    yield* entries.slice(at % tileWidth);
  }
}

/** By halves: of a log that was put back the service has the beginning, and nothing behind it. */
async function findFirstMissing(audit: AuditClient, read: ReadMirrorFile, size: number): Promise<number> {
  let [present, missing] = [0, size];
  while (present < missing) {
    const middle = Math.floor((present + missing) / 2);
    const entry = await readEntriesFrom(read, middle, size).next();
    const leafIndex = await findLeaf(audit, entry.value, middle);
    if (leafIndex === undefined) missing = middle;
    else if (leafIndex === middle) present = middle + 1;
    else throw new Unverified(forked(middle, `leaf ${middle}`, `leaf ${leafIndex}`));
  }
  return present;
}

/** At which leaf the service has the event of this entry; `undefined`: not at all. */
async function findLeaf(
  audit: AuditClient,
  entry: Uint8Array | undefined,
  at: number,
): Promise<number | undefined> {
  const event = entry && decodeEvent(entry);
  if (!event) throw unreadable(`The entry at leaf ${at} of the mirror is no event.`);
  try {
    const { event: found } = await audit.getEvent({ eventId: event.eventId });
    return Number(found?.leafIndex);
  } catch (error) {
    if (ConnectError.from(error).code === Code.NotFound) return undefined;
    throw error;
  }
}

/** A service that took other events since it was restored can never have the old leaves again. */
async function refuseOthers(audit: AuditClient, present: number): Promise<void> {
  const newest = await audit.getCheckpoint({}).catch((error: unknown) => {
    if (ConnectError.from(error).code === Code.NotFound) return undefined; // It has signed nothing: its size is not told.
    throw error;
  });
  if (!newest) return;
  const note = newest.checkpoint;
  const size =
    readCheckpoint(note.slice(0, note.lastIndexOf("\n\n") + 1)).size + Number(newest.unsealedCount);
  if (size > present) throw new Unverified(forked(present, `${present} events`, `${size} events`));
}

async function* batch(entries: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array[]> {
  let events: Uint8Array[] = [];
  let bytes = 0;
  let countMax = 1; // The first one alone: if it goes wrong, no more than that has happened.
  for await (const entry of entries) {
    events.push(entry);
    bytes += entry.length;
    if (events.length < countMax && bytes < batchBytesMax) continue;
    yield events;
    [events, bytes, countMax] = [[], 0, batchMax];
  }
  if (events.length > 0) yield events;
}

/** What is wrong with what became of the event that was at leaf `expected`. */
function findFault({ outcome, reason, leafIndex }: EventOutcome, expected: number): Fault | undefined {
  switch (outcome) {
    case DeliveryOutcome.APPLIED:
    case DeliveryOutcome.DUPLICATE:
      if (leafIndex === BigInt(expected)) return undefined;
      return forked(expected, `leaf ${expected}`, `leaf ${leafIndex}`);
    case DeliveryOutcome.OUT_OF_ORDER:
      return forked(expected, "the next of its history", "a history that lacks events before");
    default:
      if (reason !== "SOURCE_NOT_ALLOWED")
        return forked(expected, "an event that goes on from the log", reason);
      throw new Failure(
        `the token may not speak for the source of the event at leaf ${expected} (SOURCE_NOT_ALLOWED)`,
      );
  }
}

function forked(leafIndex: number, expected: string, found: string): Fault {
  const what =
    "The service's log holds other events than the mirror's: it cannot become again what was signed.";
  return { kind: "fork", what, expected, found, place: { leafIndex } };
}
