import { createHash, randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import { v7 } from "uuid";
import type { Content } from "../domain/case.ts";
import { decide, type Accepted, type Circumstances, type Command } from "../domain/decide.ts";
import { laneOf } from "../domain/lane.ts";
import type { Reason } from "../domain/reason.ts";
import { findAppliedRequest, toAppliedRequest, type AppliedRequest } from "../store/answers.ts";
import { loadCase, toStoredCase, type StoredCase } from "../store/cases.ts";
import { encodeContent } from "../store/content-bytes.ts";
import { isLostRace } from "../store/lost-race.ts";
import { saveTransition, type NewTransition } from "../store/save-transition.ts";
import { decisionHash } from "./decision-hash.ts";
import type { Actor, EventFacts } from "./event-facts.ts";
import { nextEventId } from "./event-id.ts";

/*
 * The write path: how a command becomes a transition, exactly once. Two round trips to PostgreSQL.
 *
 *   1 load      the case, then what this principal's request id did before     nothing is held; dying here loses nothing
 *   2 replay    it took effect before: give the recorded answer back           same bytes, no effect
 *   3 decide    the pure rules accept, or refuse                               a refusal is not recorded
 *   4 commit    one statement: case, entry, outbox row, content, answer        all or nothing; the version is compared
 *   5 again     somebody was faster: back to 1, at most `attemptsMax` times    a duplicate finds the answer at 2
 *
 * There is no lease and no "in progress" state. A duplicate sent at the same time waits in step 4 for the row, loses, and
 * replays. If the connection dies during the commit nobody knows here whether it happened: the caller is told just that
 * (OUTCOME_UNKNOWN), and a retry with the same request id finds the truth at step 1.
 */

/** How often a write that named no version looks again after losing a race, the first time included. */
const attemptsMax = 5;
/** The longest pause before looking again: rivals that lost together do not come back together. */
const rivalPauseMs = 20;
const answerKeptMs = 7 * 24 * 60 * 60 * 1000;
const saltBytes = 32;

export interface ChangeRequest {
  readonly tenantId: string;
  readonly actor: Actor;
  readonly requestId: string;
  /** SHA-256 of method and message: tells a retry from another request with a used id. */
  readonly requestHash: Uint8Array;
  /** `undefined` for a creation. */
  readonly caseId: string | undefined;
  readonly expectedVersion: number | undefined;
  readonly command: Command;
  readonly correlationId: string;
  readonly traceparent: string;
  /** What is left of the caller's time; throws when nothing is. */
  readonly remainingMs: () => number;
  /** The answer's bytes for the case after the change. */
  readonly encodeAnswer: (next: Accepted["next"]) => Uint8Array;
}

export interface ChangeResult {
  readonly answer: Uint8Array;
  /** True when the request took effect earlier, and this is what it was answered with then. */
  readonly replayed: boolean;
}

export type ChangeCase = (request: ChangeRequest) => Promise<ChangeResult>;

export interface ChangeCaseDependencies {
  readonly pool: pg.Pool;
  readonly now: () => Date;
  readonly encodeEvent: (facts: EventFacts) => Uint8Array;
  /** Told after each commit, so that the relay need not wait for its poll. */
  readonly onCommitted: () => void;
}

/**
 * The use case behind every write. Faults: CASE_NOT_FOUND, any refusal of the rules, REQUEST_ID_REUSED,
 * REQUEST_ALREADY_APPLIED, VERSION_MISMATCH after too many lost races, and what `reportDatabaseFaults` makes of outages.
 */
export function createChangeCase(dependencies: ChangeCaseDependencies): ChangeCase {
  const { pool, now, onCommitted } = dependencies;
  return async (request) => {
    for (let attempt = 1; ; attempt++) {
      const { current, applied } = await load(pool, request, now());
      if (applied) return { answer: replay(request, applied), replayed: true };
      if (request.caseId !== undefined && current === undefined) {
        throw new Fault<Reason>("CASE_NOT_FOUND", { case_id: request.caseId });
      }
      const transition = decideAndSeal(dependencies, request, current);
      if (await commit(pool, request, transition)) {
        onCommitted();
        return { answer: transition.answer, replayed: false };
      }
      if (attempt === attemptsMax) {
        throw new Fault<Reason>("VERSION_MISMATCH", { current_version: String(current?.case.version ?? 0) });
      }
      await pause(Math.random() * rivalPauseMs);
    }
  };
}

async function load(
  pool: pg.Pool,
  request: ChangeRequest,
  at: Date,
): Promise<{ current: StoredCase | undefined; applied: AppliedRequest | undefined }> {
  const find = findAppliedRequest(request.tenantId, request.actor.id, request.requestId, at);
  const statements =
    request.caseId === undefined ? [find] : [loadCase(request.tenantId, request.caseId), find];
  const results = await reportDatabaseFaults(() =>
    runForTenant(
      pool,
      { tenantId: request.tenantId, timeoutMs: request.remainingMs(), readOnly: true, planEachTime: true },
      statements,
    ),
  );
  const appliedRow = results.at(-1)?.rows[0];
  const caseRow = request.caseId === undefined ? undefined : results[0]?.rows[0];
  return {
    current: caseRow && toStoredCase(caseRow),
    applied: appliedRow && toAppliedRequest(appliedRow),
  };
}

function replay(request: ChangeRequest, applied: AppliedRequest): Uint8Array {
  if (applied.answer === undefined) {
    throw new Fault<Reason>("REQUEST_ALREADY_APPLIED", {
      case_id: applied.caseId,
      version: String(applied.version),
    });
  }
  if (!Buffer.from(applied.answer.requestHash).equals(request.requestHash)) {
    throw new Fault<Reason>("REQUEST_ID_REUSED", { request_id: request.requestId });
  }
  return applied.answer.bytes;
}

/** Asks the rules, and makes every byte that the transition will consist of. */
function decideAndSeal(
  { now, encodeEvent }: ChangeCaseDependencies,
  request: ChangeRequest,
  current: StoredCase | undefined,
): NewTransition {
  const at = now();
  const salt = randomBytes(saltBytes);
  const by: Circumstances = {
    principalId: request.actor.id,
    at,
    newCaseId: v7({ msecs: at.getTime() }),
    commitTo: (content) => sha256(salt, encodeContent(content)),
  };
  const decision = decide(current?.case, request.command, request.expectedVersion, by);
  if (!decision.accepted) {
    throw new Fault<Reason>(decision.reason, decision.metadata, { fields: missingFields(decision.metadata) });
  }
  const { next } = decision;
  const decided =
    decision.decides && next.reviewVersion !== undefined
      ? decisionHash(request.tenantId, next.id, next.reviewVersion, next.contentCommitment)
      : undefined;
  const eventId = nextEventId(at, current?.latestEventId);
  const event = encodeEvent({
    eventId,
    tenantId: request.tenantId,
    next,
    action: request.command.action,
    happened: decision.happened,
    fromState: current?.case.state,
    previousDigest: current?.latestDigest,
    actor: request.actor,
    reason: decision.reason,
    assigneeId: decision.assigneeId,
    decisionHash: decided,
    requestId: request.requestId,
    correlationId: request.correlationId,
    traceparent: request.traceparent,
    recordedAt: at,
  });
  return {
    tenantId: request.tenantId,
    next,
    action: request.command.action,
    fromState: current?.case.state,
    principalId: request.actor.id,
    requestId: request.requestId,
    requestHash: request.requestHash,
    answer: request.encodeAnswer(next),
    answerExpiresAt: new Date(at.getTime() + answerKeptMs),
    eventId,
    event,
    eventDigest: sha256(event),
    recordedAt: at,
    lane: laneOf(sha256(Buffer.from(request.tenantId, "utf8"))),
    traceparent: request.traceparent,
    content: newContent(current?.case.contentVersion, next, salt),
    approvalOf: request.command.action === "approve" && decided ? { decisionHash: decided } : undefined,
  };
}

/** Commits; false when somebody was faster and nothing was written. */
async function commit(pool: pg.Pool, request: ChangeRequest, transition: NewTransition): Promise<boolean> {
  try {
    const [saved] = await reportDatabaseFaults(() =>
      runForTenant(pool, { tenantId: request.tenantId, timeoutMs: request.remainingMs() }, [
        saveTransition(transition),
      ]),
    );
    return saved?.rowCount === 1;
  } catch (error) {
    if (isLostRace(error)) return false;
    throw error;
  }
}

function newContent(
  versionBefore: number | undefined,
  next: { readonly contentVersion: number; readonly content: Content },
  salt: Uint8Array,
): NewTransition["content"] {
  return next.contentVersion === versionBefore ? undefined : { salt, bytes: encodeContent(next.content) };
}

function missingFields(metadata: Readonly<Record<string, string>>): { field: string; description: string }[] {
  const missing = metadata["missing"];
  if (missing === undefined) return [];
  return missing.split(",").map((field) => ({
    field: `content.${field}`,
    description: "must be filled in before the case is submitted",
  }));
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}
