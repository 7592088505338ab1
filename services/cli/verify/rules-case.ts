/*
 * The rules of a case, from the events' point of view. Written apart from the service that makes the events: what a service
 * that was tampered with let pass shows here.
 *
 * A rule needs nothing but the events of the case before. What rests on a policy is a claim, judged when the whole log is read:
 * a policy's event may stand behind those of its cases.
 */
import type { Breach } from "./breach.ts";
import { type CaseFacts, followCommon, hideOne } from "./case-facts.ts";
import { quote } from "./fault.ts";
import { type LoggedEvent, personOf, toHex } from "./read-event.ts";
import { type Context, type Step, steps } from "./rules-steps.ts";
import { findDecisionBreach } from "./rules-decision.ts";

/** What an event rests on that only the case's policy can tell. */
export type PolicyClaim =
  | { readonly kind: "exists" }
  | { readonly kind: "approvals"; readonly required: number }
  | { readonly kind: "window"; readonly decidedAtMs: number; readonly appealedAtMs: number };

export interface Judgement {
  readonly breach?: Breach | undefined;
  /** After the event, which counts also when it breaks a rule. */
  readonly facts: CaseFacts;
  readonly claims: readonly PolicyClaim[];
}

const typePrefix = "caseflow.case.";
const tombstoneType = "caseflow.event.skipped";
const schemaVersionKnown = 1;

/** Judges the next event of a case by all of them before; `hasOverridden` tells who proposed or carried out an override. */
export function judgeCaseEvent(
  facts: CaseFacts,
  logged: LoggedEvent,
  hasOverridden: (person: string) => boolean,
): Judgement {
  const { event } = logged;
  if (event.tombstone) {
    return { breach: findTombstoneBreach(facts, logged), facts: hideOne(facts, logged), claims: [] };
  }
  const happened = event.type.startsWith(typePrefix) ? event.type.slice(typePrefix.length) : "";
  const step = Object.hasOwn(steps, happened) ? steps[happened] : undefined;
  if (!step || event.schemaVersion !== schemaVersionKnown) {
    return { breach: unknownTo(event), facts, claims: [] };
  }
  const context = { facts, logged, person: personOf(logged), hasOverridden };
  const breach = findBreach(step, happened, context);
  const next = { ...followCommon(facts, logged), ...step.follow?.(context) };
  return { breach, facts: next, claims: claimsOf(happened, facts, logged) };
}

/** A tombstone tells from where to where the event led that it stands in for, and is set by an operator. */
function findTombstoneBreach(facts: CaseFacts, { event, actor }: LoggedEvent): Breach | undefined {
  const { type, fromState, toState } = event;
  if (type !== tombstoneType) return unknownTo(event);
  const before = facts.state ?? "";
  if (fromState !== before) return notWhereItStood(before, fromState);
  const possible = Object.values(steps).some(
    ({ from, to }) =>
      (from === "any" ? fromState !== "" : from.includes(fromState)) && targetOf(to, fromState) === toState,
  );
  if (!possible) {
    const what = "The event that was given up cannot have led from where to where its tombstone says.";
    return { what, found: `${fromState || "nothing"} to ${toState || "nothing"}` };
  }
  if (actor.roles.includes("operator")) return undefined;
  return { what: `${quote(actor.id)} gave an event up without the role operator.` };
}

function unknownTo({ type, schemaVersion }: LoggedEvent["event"]): Breach {
  const what = `This verifier does not know what ${quote(type)} (schema version ${schemaVersion}) may do to a case.`;
  return { what, expected: "an event of a case that is known" };
}

function notWhereItStood(expected: string, found: string): Breach {
  return {
    what: "The event does not begin in the state where the case stood.",
    expected: expected || "no case yet",
    found: quote(found) || "no case yet",
  };
}

function targetOf(to: string, fromState: string): string {
  if (to === "same") return fromState;
  return to === "other" ? otherDecision(fromState) : to;
}

function findBreach(step: Step, happened: string, context: Context): Breach | undefined {
  return (
    findMoveBreach(step, happened, context) ??
    findRoleBreach(step, context) ??
    findTimeBreach(context) ??
    findConstancyBreach(happened, context) ??
    findReasonBreach(step, context) ??
    step.judge?.(context) ??
    findDecisionBreach(step, context)
  );
}

/** From where to where, by the state table and by where the case stood. */
function findMoveBreach(
  { from, to }: Step,
  happened: string,
  { facts, logged }: Context,
): Breach | undefined {
  const { fromState, toState, subjectSequence } = logged.event;
  const move = (one: string, other: string) => `${one || "nothing"} to ${other || "nothing"}`;
  const begins = happened === "created";
  if (begins !== (subjectSequence === 1n)) {
    const what = begins
      ? "A case that was there already was created again."
      : "A case began without being created.";
    return { what, expected: "created as the first event, and as no other", found: happened };
  }
  if (!begins && facts.state !== undefined && facts.state !== fromState) {
    return notWhereItStood(facts.state, fromState);
  }
  if (from !== "any" && !from.includes(fromState)) {
    return {
      what: `A case cannot be ${happened.replaceAll("_", " ")} in this state.`,
      expected: from.map((state) => state || "no case yet").join(" or "),
      found: fromState || "no case yet",
    };
  }
  const target = targetOf(to, fromState);
  if (toState === target) return undefined;
  return {
    what: "The event leads to a state to which it cannot lead.",
    expected: move(fromState, target),
    found: move(fromState, toState),
  };
}

function otherDecision(state: string): string {
  return state === "approved" ? "rejected" : "approved";
}

/** The token of the call had the role that the action asks for, or brought in what happened elsewhere. */
function findRoleBreach({ role }: Step, { logged }: Context): Breach | undefined {
  const { roles } = logged.actor;
  if (roles.includes(role) || (role !== "operator" && isImported(logged))) return undefined;
  return {
    what: `${quote(logged.actor.id)} did what asks for the role ${role} without having it.`,
    expected: role === "operator" ? role : `${role}, or an importer for somebody`,
    found: roles.length === 0 ? "no role" : quote(roles.join(", ")),
  };
}

/** An action of another system, which an importer may tell with its own time and person. */
function isImported({ actor }: LoggedEvent): boolean {
  return actor.roles.includes("importer") && actor.onBehalfOf !== "";
}

function findTimeBreach({ facts, logged }: Context): Breach | undefined {
  const { occurredAtMs, recordedAtMs } = logged;
  if (occurredAtMs === recordedAtMs) return undefined;
  const [occurred, recorded] = [toTime(occurredAtMs), toTime(recordedAtMs)];
  if (occurredAtMs > recordedAtMs) {
    const what = "The event was recorded before it happened.";
    return { what, expected: `a time up to ${recorded}`, found: occurred };
  }
  if (!isImported(logged)) {
    const what = "The event is dated back, which only an imported one may be.";
    return { what, expected: recorded, found: occurred };
  }
  if (facts.lastOccurredAtMs === undefined || occurredAtMs >= facts.lastOccurredAtMs) return undefined;
  return {
    what: "The imported event happened before one that the case had already.",
    expected: `a time from ${toTime(facts.lastOccurredAtMs)} on`,
    found: occurred,
  };
}

/** What stays as it is for the whole of a case, and what only certain events change. */
function findConstancyBreach(happened: string, { facts, logged }: Context): Breach | undefined {
  const { event } = logged;
  const commitment = toHex(event.contentCommitment);
  const mayWrite = happened === "created" || happened === "updated";
  const round =
    (facts.reviewRound ?? 0) +
    (happened === "review_started" || happened === "appeal_review_started" ? 1 : 0);
  const knowsRound = facts.reviewRound !== undefined || facts.hiddenCount === 0;
  const constants: readonly (readonly [name: string, before: string | undefined, now: string])[] = [
    ["the type of the case", facts.subjectType, event.subjectType],
    ["the policy version it is judged under", facts.policyVersion?.toString(), String(event.policyVersion)],
    ["the commitment to its content", mayWrite ? undefined : facts.contentCommitment, commitment],
    ["the round of review", knowsRound ? String(round) : undefined, String(event.reviewRound)],
  ];
  for (const [name, before, now] of constants) {
    if (before === undefined || before === now) continue;
    return { what: `The event changes what it cannot change: ${name}.`, expected: before, found: quote(now) };
  }
  if (commitment === "") return { what: "The event does not commit to the content of the case." };
  return undefined;
}

function findReasonBreach({ reasoned, authorised }: Step, { logged }: Context): Breach | undefined {
  const { reason, legalAuthority } = logged.event;
  if (reasoned && reason.trim() === "") return { what: "The event gives no reason, and needs one." };
  if (authorised && legalAuthority.trim() === "")
    return { what: "The event names no legal authority, and needs one." };
  return undefined;
}

function claimsOf(happened: string, facts: CaseFacts, { event, occurredAtMs }: LoggedEvent): PolicyClaim[] {
  const claims: PolicyClaim[] = [];
  if (facts.policyVersion === undefined) claims.push({ kind: "exists" });
  if (event.approvalsRequired > 0 && facts.approvalsRequired === undefined) {
    claims.push({ kind: "approvals", required: event.approvalsRequired });
  }
  // Whether a hidden event overrode the decision, and when, nobody can tell.
  const decidedAtMs = facts.overriddenAtMs ?? (facts.hiddenCount === 0 ? facts.decidedAtMs : undefined);
  if (happened === "appealed" && decidedAtMs !== undefined) {
    claims.push({ kind: "window", decidedAtMs, appealedAtMs: occurredAtMs });
  }
  return claims;
}

/** RFC 3339 in UTC. */
export function toTime(ms: number): string {
  return new Date(ms).toISOString();
}
