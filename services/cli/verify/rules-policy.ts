import type { Breach } from "./breach.ts";
import { quote } from "./fault.ts";
import type { LoggedEvent } from "./read-event.ts";
import { type PolicyClaim, toTime } from "./rules-case.ts";

/** The rules of one policy version. */
export interface PolicyRules {
  readonly approvalsRequired: number;
  readonly appealWindowDays: number;
}

/** A policy version that is in the log; without rules where a tombstone hides them. */
export interface SetPolicy {
  readonly rules?: PolicyRules;
}

export const policySubjectPrefix = "policy/";
const dayMs = 24 * 60 * 60 * 1_000;
const appealWindowDaysMax = 3_650;
/** Version 0, which holds where nothing was set. */
const builtIn: PolicyRules = { approvalsRequired: 1, appealWindowDays: 30 };

/** Holds an event that sets a policy to what such an event promises. */
export function findPolicyBreach({
  event,
  actor,
  occurredAtMs,
  recordedAtMs,
}: LoggedEvent): Breach | undefined {
  if (event.tombstone) return undefined;
  const { subjectSequence, appealWindowDays, approvalsRequired } = event;
  const before = subjectSequence === 1n ? "" : "in_force";
  const checks: readonly (readonly [what: string, expected: string, found: string])[] = [
    ["The event is of a policy, and does not set one.", "caseflow.policy.set", event.type],
    [
      "This verifier does not know the meaning of the event.",
      "schema version 1",
      `schema version ${event.schemaVersion}`,
    ],
    [
      "The policy is told of another case type than it is about.",
      event.subject,
      `${policySubjectPrefix}${event.subjectType}`,
    ],
    [
      "The policy does not count as its history does.",
      `version ${subjectSequence}`,
      `version ${event.policyVersion}`,
    ],
    [
      "The policy does not follow its last version.",
      `${before || "nothing"} to in_force`,
      `${event.fromState || "nothing"} to ${event.toState}`,
    ],
    ["The policy was recorded at another time than it was set.", toTime(recordedAtMs), toTime(occurredAtMs)],
  ];
  const differing = checks.find(([, expected, found]) => expected !== found);
  if (differing) return { what: differing[0], expected: quote(differing[1]), found: quote(differing[2]) };
  if (approvalsRequired !== 1 && approvalsRequired !== 2) {
    return {
      what: "The policy asks for a number of approvals that is none.",
      expected: "1 or 2",
      found: String(approvalsRequired),
    };
  }
  if (appealWindowDays > appealWindowDaysMax) {
    return {
      what: "The policy's appeal window is too long.",
      expected: `at most ${appealWindowDaysMax} days`,
      found: String(appealWindowDays),
    };
  }
  if (event.reason.trim() === "") return { what: "The policy was set without a reason." };
  if (actor.roles.includes("operator")) return undefined;
  return { what: `${quote(actor.id)} set a policy without the role operator.` };
}

/** What stands against a claim on a policy version; `policy` is what the log has of it. */
export function findClaimBreach(
  claim: PolicyClaim,
  version: number,
  policy: SetPolicy | undefined,
): Breach | undefined {
  const name = version === 0 ? "the built-in policy" : `policy version ${version}`;
  const rules = version === 0 ? builtIn : policy?.rules;
  if (!rules) {
    if (policy || claim.kind !== "exists") return undefined;
    return { what: `The case is judged under ${name} of its type, which is not in the log.` };
  }
  switch (claim.kind) {
    case "exists":
      return undefined;
    case "approvals":
      if (claim.required === rules.approvalsRequired) return undefined;
      return {
        what: `The number of approvals required is another than that of ${name}.`,
        expected: String(rules.approvalsRequired),
        found: String(claim.required),
      };
    case "window": {
      const { appealWindowDays } = rules;
      const closesAtMs = claim.decidedAtMs + appealWindowDays * dayMs;
      if (appealWindowDays > 0 && claim.appealedAtMs <= closesAtMs) return undefined;
      return {
        what: `The appeal was taken outside of the window of ${name}.`,
        expected: appealWindowDays === 0 ? "no appeal" : `an appeal up to ${toTime(closesAtMs)}`,
        found: toTime(claim.appealedAtMs),
      };
    }
    default:
      return claim satisfies never;
  }
}
