/*
 * What the events of a log say, judged in the order of the log. Each event in this order: that it is one, of this tenant, in the
 * form that events have; that it is its subject's next; that it names the event before; that its id is new; that the rules of
 * its product allow it.
 *
 * Of a product that is not known the history is judged, and not the rules.
 */
import { hashLeaf } from "#libs/merkle/hash.ts";

import type { Breach } from "./breach.ts";
import { noFacts } from "./case-facts.ts";
import { type Fault, type FaultKind, type Place, quote } from "./fault.ts";
import { type Ledger, type LedgerLeaf, openLedger, type SubjectState } from "./ledger.ts";
import {
  decodeEvent,
  findFieldBreach,
  findTenantBreach,
  type LoggedEvent,
  personOf,
  toHex,
  toLoggedEvent,
} from "./read-event.ts";
import { judgeCaseEvent } from "./rules-case.ts";
import { findClaimBreach, findPolicyBreach, policySubjectPrefix } from "./rules-policy.ts";
import { createStatementJudge, reconciledSource } from "./rules-reconciliation.ts";
import { isOverride } from "./rules-steps.ts";

export interface Findings {
  /** The fault of the lowest leaf. */
  readonly first: Fault | undefined;
  /** The first place where a history does not go on as it must. */
  readonly firstBreak: Fault | undefined;
  readonly subjectCount: number;
  /** Events that stand in for others, which were given up. */
  readonly tombstoneCount: number;
}

export interface EventJudge extends Disposable {
  /** Takes the entries of the log one after the other, also those behind a fault. */
  add(leafIndex: number, bytes: Uint8Array): void;
  /** After the last one. */
  finish(): Findings;
}

const caseSource = "caseflow/case";
const caseTypePrefix = "caseflow.case.";
const caseSubject = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** `whole`: every event of the log is shown, policies too. */
export function createEventJudge(tenantId: string, { whole }: { readonly whole: boolean }): EventJudge {
  const ledger = openLedger();
  const statements = createStatementJudge(whole ? ledger : undefined);
  let first: Fault | undefined;
  let firstBreak: Fault | undefined;
  let subjectCount = 0;
  let tombstoneCount = 0;

  function note(kind: FaultKind, breach: Breach | undefined, place: Place): void {
    if (!breach) return;
    const fault = { kind, ...breach, place };
    first ??= fault;
    if (kind !== "rule") firstBreak ??= fault;
  }

  return {
    add(leafIndex, bytes) {
      const event = decodeEvent(bytes);
      if (!event) return note("rule", notAnEvent, { leafIndex });
      const place = placeOf(leafIndex, event);
      const fieldBreach = findFieldBreach(event, bytes) ?? findTenantBreach(event, tenantId);
      if (fieldBreach) return note("rule", fieldBreach, place);

      const logged = toLoggedEvent(leafIndex, event, bytes);
      if (whole) ledger.addLeaf(leafIndex, toLeaf(logged, bytes));
      const key = JSON.stringify([event.source, event.subject]);
      const before = ledger.subject(key);
      if (!before) subjectCount += 1;
      if (event.tombstone) tombstoneCount += 1;
      note("gap", findGap(before, logged), place);
      note("chain", findChainBreach(before, logged), place);
      note("rule", findIdBreach(ledger, before, logged), place);
      const { breach, facts } = judgeProduct(ledger, key, before, logged, first ? undefined : place);
      note("rule", breach, place);
      note("rule", statements.findBreach(before, logged), place);
      ledger.setSubject(key, {
        sequence: Number(event.subjectSequence),
        leafIndex,
        linkDigest: logged.linkDigest,
        eventId: event.tombstone?.originalEventId.toLowerCase() ?? event.eventId,
        ...(facts && { facts }),
      });
    },
    finish() {
      for (const { claim, caseType, policyVersion, place } of ledger.claims()) {
        if (first?.place && first.place.leafIndex <= place.leafIndex) break;
        const policy = ledger.policy(caseType, policyVersion);
        if (!policy && !whole && policyVersion !== 0) continue;
        const breach = findClaimBreach(claim, policyVersion, policy);
        if (breach) first = { kind: "rule", ...breach, place };
      }
      return { first, firstBreak, subjectCount, tombstoneCount };
    },
    [Symbol.dispose]: () => ledger[Symbol.dispose](),
  };
}

export const notAnEvent: Breach = { what: "The entry is no event: its bytes cannot be read as one." };

export function placeOf(leafIndex: number, event: LoggedEvent["event"]): Place {
  const { source, subject, subjectSequence, eventId } = event;
  return { leafIndex, source, subject, sequence: String(subjectSequence), eventId };
}

function toLeaf({ event, linkDigest }: LoggedEvent, bytes: Uint8Array): LedgerLeaf {
  const entryDigest = event.source === reconciledSource ? Buffer.from(linkDigest, "hex") : undefined;
  return { leafHash: hashLeaf(bytes), entryDigest };
}

function findGap(before: SubjectState | undefined, { event }: LoggedEvent): Breach | undefined {
  const expected = (before?.sequence ?? 0) + 1;
  const found = event.subjectSequence;
  if (found === BigInt(expected)) return undefined;
  const missing = found > BigInt(expected);
  const what = missing
    ? `Event ${expected} of this history is missing.`
    : "This history has an event in a place that was taken.";
  return { what, expected: `event ${expected}`, found: `event ${found}` };
}

function findChainBreach(before: SubjectState | undefined, { event }: LoggedEvent): Breach | undefined {
  const found = toHex(event.previousDigest);
  const expected = before?.linkDigest ?? "";
  if (found === expected) return undefined;
  return {
    what: before
      ? `The event was made behind another one than stands before it at leaf ${before.leafIndex}.`
      : "The first event of a history was made behind another one.",
    expected: expected || "no event before",
    found: found || "no event before",
  };
}

function findIdBreach(
  ledger: Ledger,
  before: SubjectState | undefined,
  { leafIndex, event }: LoggedEvent,
): Breach | undefined {
  const { eventId } = event;
  const earlier = ledger.addEventId(eventId, leafIndex);
  if (earlier !== undefined) {
    return {
      what: "Two events have the same id.",
      expected: "an id of its own",
      found: `that of leaf ${earlier}`,
    };
  }
  // A tombstone is made later than events behind it: the original's id stands for it.
  if (event.tombstone || before === undefined || eventId > before.eventId) return undefined;
  return {
    what: "The ids of a history do not go up.",
    expected: `an id behind ${before.eventId}`,
    found: eventId,
  };
}

/** The rules of the product that the event is of. Without a `place` only what later events rest on is taken down. */
function judgeProduct(
  ledger: Ledger,
  key: string,
  before: SubjectState | undefined,
  logged: LoggedEvent,
  place: Place | undefined,
): { readonly breach?: Breach | undefined; readonly facts?: SubjectState["facts"] } {
  const { source, subject, type, subjectSequence, approvalsRequired, appealWindowDays, tombstone } =
    logged.event;
  if (source !== caseSource) return {};
  if (subject.startsWith(policySubjectPrefix)) {
    const rules = tombstone ? undefined : { approvalsRequired, appealWindowDays };
    ledger.setPolicy(subject.slice(policySubjectPrefix.length), Number(subjectSequence), rules);
    return { breach: findPolicyBreach(logged) };
  }
  if (!caseSubject.test(subject)) {
    return { breach: type.startsWith(caseTypePrefix) ? caselessEvent(subject) : undefined };
  }
  if (!place) return {};
  const hasOverridden = (person: string) => ledger.hasOverridden(key, person);
  const { breach, facts, claims } = judgeCaseEvent(before?.facts ?? noFacts, logged, hasOverridden);
  for (const claim of claims) {
    const { subjectType: caseType, policyVersion } = logged.event;
    ledger.addClaim({ place, caseType, policyVersion, claim });
  }
  if (isOverride(type)) ledger.addOverrider(key, personOf(logged));
  return { breach, facts };
}

function caselessEvent(subject: string): Breach {
  return {
    what: "An event of a case is about something that is no case.",
    expected: "the id of a case",
    found: quote(subject),
  };
}
