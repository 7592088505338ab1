import { Fault } from "#libs/fault/fault.ts";
import { skip } from "../domain/dead-letter.ts";
import type { Reason } from "../domain/reason.ts";
import { saveAnswer } from "../store/answers.ts";
import {
  findDeadLetter,
  findDeadLetters,
  listDeadLetters,
  type DeadLetterFilter,
  type DeadLetterRow,
  type ListedDeadLetterRow,
  type WholeDeadLetterRow,
} from "../store/dead-letters.ts";
import { redriveDeadLetters, skipDeadLetter, type DeliveryAct } from "../store/save-delivery-act.ts";
import {
  answerKeptMs,
  applyOnce,
  type Attempt,
  type WriteDependencies,
  type WriteRequest,
  type WriteResult,
} from "./apply-once.ts";
import { attended, deliveryId, deliverySubject } from "./delivery-subject.ts";
import type { EventPlace } from "./event-facts.ts";
import { standInEventId } from "./event-id.ts";
import { cutPage, readPosition, uuidPattern, type Page, type PageRequest } from "./page.ts";
import { readRows, type Reader } from "./read-rows.ts";
import { sealEntry } from "./seal-entry.ts";

/*
 * Dead letters, and the two ways out. An operator either has the event itself delivered again (redrive), or a tombstone in its place
 * (skip). Each act is one statement: the dead letter goes, an outbox row comes, and the act has an entry and an event of its own, in
 * the subject `delivery`. Acts of a tenant come one after the other, by the versions of that subject.
 *
 *   E dead   redrive   E queued   delivered: the case goes on
 *                                 refused: E dead
 *            skip      T queued   delivered: the case goes on
 *                                 refused: E dead
 *
 * The tombstone T has the event's subject and sequence, and an id of the same millisecond. It is made once. A delivery whose
 * answer was lost may have stored E or T without anybody knowing; since each can be sent again as it was, one of the two acts ends
 * in DUPLICATE, and the case goes on. Where neither does, the audit service holds another event at the sequence, or another one before
 * it: the histories have forked, and nothing of this case can be told any more.
 */

/** A dead letter with all that a person needs to decide about it. */
export interface ListedDeadLetter {
  readonly eventId: string;
  readonly caseId: string;
  readonly version: number;
  readonly reason: string;
  readonly detail: string;
  readonly deadAt: Date;
  /** The event's bytes. */
  readonly event: Uint8Array;
  readonly eventDigest: Uint8Array;
  /** How many later events of the subject wait behind it. */
  readonly waitingCount: number;
  /** The tombstone that an earlier skip made. */
  readonly tombstoneEventId: string | undefined;
}

export interface RedriveRequest extends WriteRequest {
  /** Lower case, each once. */
  readonly eventIds: readonly string[];
  /** The answer's bytes for those that are queued. */
  readonly encodeAnswer: (eventIds: readonly string[]) => Uint8Array;
}

export interface SkipRequest extends WriteRequest {
  /** Lower case. */
  readonly eventId: string;
  readonly reason: string;
  /** The answer's bytes for the tombstone. */
  readonly encodeAnswer: (tombstoneEventId: string) => Uint8Array;
}

export interface DeadLetters {
  /** By event id, ascending. Fault PAGE_TOKEN_INVALID. */
  list(reader: Reader, filter: DeadLetterFilter, page: PageRequest): Promise<Page<ListedDeadLetter>>;
  /** Queues those of the events that are dead letters. When none is, the answer alone is recorded. Faults: those of `applyOnce`. */
  redrive(request: RedriveRequest): Promise<WriteResult>;
  /** Queues a tombstone in the event's place. Faults EVENT_NOT_FOUND, REASON_REQUIRED, HISTORY_FORKED, and those of `applyOnce`. */
  skip(request: SkipRequest): Promise<WriteResult>;
}

export interface DeadLetterDependencies extends WriteDependencies {
  readonly readPlace: (event: Uint8Array) => EventPlace;
}

/** A page stays well below the usual limit of a gRPC client, 4 MiB: an event's fields take no more than its bytes. */
const pageBytesMax = 3 * 1024 * 1024;
const beforeEveryEvent = "00000000-0000-0000-0000-000000000000";

export function createDeadLetters(dependencies: DeadLetterDependencies): DeadLetters {
  return {
    async list(reader, filter, page) {
      const scope = [reader.tenantId, "dead letters", JSON.stringify(filter)];
      const after = readPosition(scope, page.token, uuidPattern) ?? beforeEveryEvent;
      const statement = listDeadLetters(reader.tenantId, filter, after, page.size + 1, pageBytesMax);
      const { rows } = await readRows(dependencies.pool, reader, statement);
      const found = Number(rows[0]?.page_count ?? 0);
      return cutPage(scope, rows.map(toListed), found, page.size, ({ eventId }) => eventId);
    },

    redrive(request) {
      const load = findDeadLetters(request.tenantId, request.eventIds, deliveryId);
      return applyOnce(dependencies, request, load, ({ rows }, at) =>
        attemptRedrive(dependencies, request, rows, at),
      );
    },

    skip(request) {
      const load = findDeadLetter(request.tenantId, request.eventId, deliveryId);
      return applyOnce(dependencies, request, load, ({ rows }, at) =>
        attemptSkip(dependencies, request, rows[0], at),
      );
    },
  };
}

function attemptRedrive(
  dependencies: DeadLetterDependencies,
  request: RedriveRequest,
  rows: readonly DeadLetterRow[],
  at: Date,
): Attempt {
  const dead = new Set(rows.map((row) => row.event_id));
  const found = request.eventIds.filter((eventId) => dead.has(eventId));
  const answer = request.encodeAnswer(found);
  const [row] = rows;
  if (row === undefined) {
    const { tenantId, actor, requestId, requestHash } = request;
    const answerExpiresAt = new Date(at.getTime() + answerKeptMs);
    const statement = saveAnswer({
      tenantId,
      principalId: actor.id,
      requestId,
      requestHash,
      answer,
      answerExpiresAt,
    });
    return { statement, answer, fromVersion: 0 };
  }
  const act = sealAct(dependencies, request, at, row, {
    action: "redrive",
    happened: "redriven",
    reason: "",
    aboutEventIds: found,
    answer,
  });
  const statement = redriveDeadLetters({ ...act, deadEventIds: found });
  const entry = { action: "redrive" };
  return { statement, answer, entry, fromVersion: row.act_version ?? 0, planEachTime: true };
}

function attemptSkip(
  dependencies: DeadLetterDependencies,
  request: SkipRequest,
  row: WholeDeadLetterRow | undefined,
  at: Date,
): Attempt {
  const { eventId, reason } = request;
  if (row === undefined) throw new Fault<Reason>("EVENT_NOT_FOUND", { event_id: eventId });
  const known = row.tombstone_event_id ?? undefined;
  const decision = skip({ reason: row.reason, hasTombstone: known !== undefined }, reason);
  if (!decision.accepted) throw new Fault<Reason>(decision.reason, decision.metadata);
  const tombstoneEventId = known ?? standInEventId(eventId);
  const answer = request.encodeAnswer(tombstoneEventId);
  const act = sealAct(dependencies, request, at, row, {
    action: "skip",
    happened: "skipped",
    reason,
    aboutEventIds: [eventId],
    answer,
  });
  const tombstone =
    known === undefined ? sealTombstone(dependencies, request, at, row, tombstoneEventId) : undefined;
  const statement = skipDeadLetter({ ...act, deadEventId: eventId, tombstoneEventId, tombstone });
  return { statement, answer, entry: { action: "skip" }, fromVersion: row.act_version ?? 0 };
}

/** What neither an act nor a tombstone has. */
const nothingDecided = {
  legalAuthority: "",
  assigneeId: "",
  decisionHash: undefined,
  contentCommitment: undefined,
  reviewRound: 0,
  policyVersion: 0,
  approvalsRequired: 0,
  appealWindowDays: 0,
};

interface ActFacts {
  readonly action: "redrive" | "skip";
  readonly happened: "redriven" | "skipped";
  readonly reason: string;
  readonly aboutEventIds: readonly string[];
  readonly answer: Uint8Array;
}

/** The act's entry, behind the latest act that `row` tells. */
function sealAct(
  dependencies: DeadLetterDependencies,
  request: WriteRequest,
  at: Date,
  { act_version: version, act_event_id: id, act_event_digest: digest }: DeadLetterRow,
  { action, happened, reason, aboutEventIds, answer }: ActFacts,
): DeliveryAct {
  const latest = id !== null && digest !== null ? { id, digest } : undefined;
  const actVersion = (version ?? 0) + 1;
  const facts = {
    ...nothingDecided,
    type: `caseflow.delivery.${happened}`,
    subject: deliverySubject,
    subjectType: "",
    sequence: actVersion,
    fromState: latest && attended,
    toState: attended,
    reason,
    aboutEventIds,
    occurredAt: at,
  };
  const how = { action, spokeBefore: false, completes: undefined, answer };
  return { ...sealEntry(dependencies, request, at, latest, facts, how), actId: deliveryId, actVersion };
}

/** The tombstone's bytes: at the event's place, with the predecessor and the states that the event itself names. */
function sealTombstone(
  { encodeEvent, readPlace }: DeadLetterDependencies,
  { tenantId, actor, requestId, correlationId, traceparent, reason }: SkipRequest,
  at: Date,
  { event, event_digest: originalDigest, event_id: originalEventId }: WholeDeadLetterRow,
  eventId: string,
): Uint8Array {
  return encodeEvent({
    ...nothingDecided,
    ...readPlace(event),
    eventId,
    type: "caseflow.event.skipped",
    tenantId,
    actor,
    reason,
    tombstone: { originalDigest, originalEventId, reason },
    requestId,
    correlationId,
    traceparent,
    occurredAt: at,
    recordedAt: at,
  });
}

function toListed(row: ListedDeadLetterRow): ListedDeadLetter {
  return {
    eventId: row.event_id,
    caseId: row.case_id,
    version: row.version,
    reason: row.reason,
    detail: row.detail,
    deadAt: row.dead_at,
    event: row.event,
    eventDigest: row.event_digest,
    waitingCount: row.waiting,
    tombstoneEventId: row.tombstone_event_id ?? undefined,
  };
}
