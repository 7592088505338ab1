import { Fault } from "#libs/fault/fault.ts";
import type { Policy } from "../domain/case.ts";
import { setPolicy, type PolicyRules } from "../domain/policy.ts";
import type { Reason } from "../domain/reason.ts";
import { loadPolicy, savePolicy, toPolicy, type PolicyRow } from "../store/policies.ts";
import {
  applyOnce,
  type Attempt,
  type WriteDependencies,
  type WriteRequest,
  type WriteResult,
} from "./apply-once.ts";
import { readRows, type Reader } from "./read-rows.ts";
import { sealEntry } from "./seal-entry.ts";
import { subjectId } from "./subject-id.ts";

export interface SetPolicyRequest extends WriteRequest {
  readonly caseType: string;
  readonly expectedVersion: number | undefined;
  readonly rules: PolicyRules;
  readonly reason: string;
  /** The answer's bytes for the policy as set. */
  readonly encodeAnswer: (policy: Policy) => Uint8Array;
}

export interface Policies {
  /** The policy in force for a case type. */
  get(reader: Reader, caseType: string): Promise<Policy>;
  /** Sets the rules for cases that are created from then on. Faults VERSION_MISMATCH, REASON_REQUIRED, and those of `applyOnce`. */
  set(request: SetPolicyRequest): Promise<WriteResult>;
}

/** The one state of a policy that was set. */
const inForce = "in_force";

/**
 * Policies are subjects as cases are: a policy's entries stand under a UUID of its own, made of its name, with the policy
 * version as their version. So its events are queued, delivered and parked as a case's are.
 */
export function createPolicies(dependencies: WriteDependencies): Policies {
  return {
    async get(reader, caseType) {
      const { rows } = await readRows(dependencies.pool, reader, loadPolicy(reader.tenantId, caseType));
      return toPolicy(rows[0]);
    },
    set(request) {
      const load = loadPolicy(request.tenantId, request.caseType);
      return applyOnce(dependencies, request, load, ({ rows }, at) =>
        attempt(dependencies, request, rows[0], at),
      );
    },
  };
}

function attempt(
  dependencies: WriteDependencies,
  request: SetPolicyRequest,
  row: PolicyRow | undefined,
  at: Date,
): Attempt {
  const { caseType, rules, reason } = request;
  const decision = setPolicy(row && toPolicy(row), rules, request.expectedVersion, reason);
  if (!decision.accepted) throw new Fault<Reason>(decision.reason, decision.metadata);
  const { next } = decision;
  const subject = `policy/${caseType}`;
  const answer = request.encodeAnswer(next);
  const latest = row && { id: row.event_id, digest: row.event_digest };
  const facts = {
    type: "caseflow.policy.set",
    subject,
    subjectType: caseType,
    sequence: next.version,
    fromState: row && inForce,
    toState: inForce,
    reason,
    legalAuthority: "",
    assigneeId: "",
    decisionHash: undefined,
    contentCommitment: undefined,
    reviewRound: 0,
    policyVersion: next.version,
    approvalsRequired: next.approvalsRequired,
    appealWindowDays: next.appealWindowDays,
    occurredAt: at,
  };
  const how = { action: "set_policy", spokeBefore: false, completes: undefined, answer };
  const statement = savePolicy({
    ...sealEntry(dependencies, request, at, latest, facts, how),
    caseType,
    subjectId: subjectId(subject),
    policy: next,
  });
  return { statement, answer, entry: { action: "set_policy" }, fromVersion: row?.version ?? 0 };
}
