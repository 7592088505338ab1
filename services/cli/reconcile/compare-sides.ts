import type { AuditClient } from "#libs/client/audit-client.ts";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { SubjectHead } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import type { EntryDigest } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";

import {
  readEntries,
  readEvents,
  readHeads,
  readSubjects,
  type AuditedEvent,
  type Entries,
} from "./read-sides.ts";

/*
 * Compares what the case service has written down with what the audit service has stored, while both go on.
 *
 *   walk      entries by case id beside heads by subject: UUIDs in lower case sort as text does. What is no case, as a policy, has a
 *             name that does not sort as its id: it is looked up by that name
 *   heads     where the entry at the head's sequence has the head's digest, everything up to there agrees, since each event
 *             carries the digest of the one before it; what comes after may wait for its delivery. Most subjects end here
 *   examine   else the subject's events are read, and each is compared
 *
 * Neither side stands still, so what is reported is judged in the order in which things happen: an entry is written, waits, is
 * audited, waits no longer. An entry that did not wait when it was read, and is not among events read after that, is missing. An
 * event without an entry among those read after it is unexpected. Nothing is ever taken back, so a difference stays one.
 *
 * Memory holds a page of each side and one subject's entries and events.
 */

export type Outcome = "missing" | "unexpected" | "different" | "pending";

export interface Finding {
  readonly outcome: Outcome;
  /** The case's id, or `policy/` and the case type. */
  readonly subject: string;
  readonly sequence: number;
  /** Of the entry where there is one. */
  readonly eventId: string;
  /** For people; may be empty. */
  readonly detail: string;
}

export interface Sides {
  readonly admin: CaseAdminClient;
  readonly audit: AuditClient;
  readonly onFinding: (finding: Finding) => Promise<void>;
  /** Given each subject's entries, as they were read. */
  readonly onEntries?: ((entries: Entries) => void) | undefined;
  /** Told after each subject. */
  readonly onSubject: () => void;
}

/** How much was looked at. */
export interface Compared {
  readonly entries: number;
  readonly events: number;
}

export async function compareSides(sides: Sides): Promise<Compared> {
  let [entryCount, eventCount] = [0, 0];
  const subjects = readSubjects(sides.admin);
  const heads = readHeads(sides.audit);
  let entries = await next(subjects);
  let head = await next(heads);
  while (entries !== undefined || head !== undefined) {
    const subject = entries?.[0].subject;
    const isCase = subject === entries?.[0].caseId;
    const side = isCase ? compareNames(subject, head?.subject) : -1;
    if (entries !== undefined && side <= 0) {
      sides.onEntries?.(entries);
      if (!isCase) await examine(sides, subject ?? "", entries);
      else await compareCase(sides, entries, side === 0 ? head : undefined);
      entryCount += entries.length;
      entries = await next(subjects);
    }
    if (head !== undefined && side >= 0) {
      if (side > 0) await compareHead(sides, head);
      eventCount += Number(head.lastSequence);
      head = await next(heads);
    }
    sides.onSubject();
  }
  return { entries: entryCount, events: eventCount };
}

async function next<T>(items: AsyncGenerator<T>): Promise<T | undefined> {
  const { done, value } = await items.next();
  return done ? undefined : value;
}

/**
 * By code units; the end comes last. One of the two is always a UUID, and of ASCII: up to the first character that differs this is
 * the order of the bytes, in which the audit service lists.
 */
function compareNames(one: string | undefined, other: string | undefined): number {
  if (one === other) return 0;
  if (one === undefined) return 1;
  if (other === undefined) return -1;
  return one < other ? -1 : 1;
}

/** `head` absent: the audit service had nothing of the case. */
async function compareCase(sides: Sides, entries: Entries, head: SubjectHead | undefined): Promise<void> {
  const audited = Number(head?.lastSequence ?? 0);
  const last = entries.find(({ version }) => version === audited);
  const later = entries.filter(({ version }) => version > audited);
  const agrees = head === undefined || (last !== undefined && isSame(last.eventDigest, head.lastDigest));
  if (agrees && later.every(({ pending }) => pending)) {
    for (const entry of later) await sides.onFinding(toPending(entry));
  } else {
    await examine(sides, entries[0].subject, entries);
  }
}

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** An audited subject that came without entries: its entries are newer than the walk, or elsewhere in it, or not there. */
async function compareHead(sides: Sides, { subject }: SubjectHead): Promise<void> {
  const isCase = uuidPattern.test(subject);
  if (!isCase && (await next(readEntries(sides.admin, subject))) !== undefined) return; // The walk meets them by their id.
  await examine(sides, subject, []);
}

/** Compares event by event. `entries` have been read before this. */
async function examine(
  { admin, audit, onFinding }: Sides,
  subject: string,
  entries: readonly EntryDigest[],
): Promise<void> {
  const unseen = new Map(entries.map((entry) => [entry.version, entry]));
  const alone: AuditedEvent[] = [];
  for await (const event of readEvents(audit, subject)) {
    const entry = unseen.get(event.sequence);
    if (entry === undefined) alone.push(event);
    else await compareEvent(onFinding, entry, event);
    unseen.delete(event.sequence);
  }
  for (const entry of unseen.values()) {
    await onFinding(entry.pending ? toPending(entry) : toFinding("missing", entry));
  }
  if (alone.length === 0) return;
  const written = new Map<number, EntryDigest>();
  for await (const entry of readEntries(admin, subject)) written.set(entry.version, entry);
  for (const event of alone) {
    const entry = written.get(event.sequence);
    if (entry !== undefined) await compareEvent(onFinding, entry, event);
    else {
      const { sequence, eventId } = event;
      await onFinding({ outcome: "unexpected", subject, sequence, eventId, detail: "" });
    }
  }
}

async function compareEvent(
  report: Sides["onFinding"],
  entry: EntryDigest,
  event: AuditedEvent,
): Promise<void> {
  if (isSame(entry.eventDigest, event.digest)) return;
  const detail = event.eventId === entry.eventId ? "" : `audited: ${event.eventId}`;
  await report({ ...toFinding("different", entry), detail });
}

function toPending(entry: EntryDigest): Finding {
  return { ...toFinding("pending", entry), detail: entry.deadLetter ? "dead letter" : "" };
}

function toFinding(outcome: Outcome, { subject, version, eventId }: EntryDigest): Finding {
  return { outcome, subject, sequence: version, eventId, detail: "" };
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
