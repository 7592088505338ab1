import { Code, ConnectError } from "@connectrpc/connect";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { CaseClient } from "#libs/client/case-client.ts";
import type { Case, Policy } from "#services/case/domain/case.ts";
import type { Circumstances } from "#services/case/domain/command.ts";
import { decide } from "#services/case/domain/decide.ts";

import { Failure } from "../failure.ts";
import { callThrough, isRefusal } from "./call.ts";
import type { FoundCase } from "./find-case.ts";
import type { Plan } from "./plan-row.ts";
import { toDomainCase } from "./to-domain-case.ts";
import type { Request } from "./to-request.ts";

export interface Applied {
  readonly outcome: "applied" | "skipped" | "failed";
  /** Stable, empty where it was applied. */
  readonly reason: string;
  /** For people. */
  readonly detail: string;
  /** The case it was about; empty where there is none in the service. */
  readonly caseId: string;
}

/** Applies the rows of one case, one after the other. */
export type ApplyRow = (plan: Plan, request: Request) => Promise<Applied>;

/** Begins with a case as an earlier run left it. */
export type Applier = (before: FoundCase | undefined) => ApplyRow;

/** Asks the service to do it. */
export function createLiveApplier(cases: CaseClient, signal: AbortSignal): Applier {
  return (before) => {
    let caseId = before?.found.caseId ?? "";
    return async (_plan, request) => {
      let replayed = false;
      const onHeader = (headers: Headers) => (replayed = headers.get("caseflow-replayed") === "true");
      const answer = await callThrough(() => request.send(cases, { onHeader }), signal);
      if (!isRefusal(answer)) {
        caseId = answer.caseId;
        return replayed ? alreadyApplied(caseId) : { outcome: "applied", reason: "", detail: "", caseId };
      }
      if (answer.reason === "REQUEST_ALREADY_APPLIED") {
        caseId = answer.metadata["case_id"] ?? caseId;
        return alreadyApplied(caseId);
      }
      return { outcome: "failed", reason: answer.reason, detail: toText(answer.metadata), caseId };
    };
  };
}

export function alreadyApplied(caseId: string): Applied {
  return { outcome: "skipped", reason: "ALREADY_APPLIED", detail: "", caseId };
}

/** Decides by the service's own rules, carrying each case's state forward, and writes nothing. */
export function createDryApplier(findPolicy: FindPolicy): Applier {
  return (before) => {
    const caseId = before?.found.caseId ?? "";
    let current: Case | undefined = before && toDomainCase(before);
    return async ({ command, actor, occurredAtMs }) => {
      const by: Circumstances = {
        personId: actor,
        at: new Date(),
        reportedAt: new Date(occurredAtMs),
        newCaseId: "",
        policy: command.action === "create" ? await findPolicy(command.caseType) : undefined,
        commitTo: () => new Uint8Array(32), // No rule looks into a commitment.
      };
      const decision = decide(current, command, undefined, by);
      if (decision.accepted) current = decision.next;
      return decision.accepted
        ? { outcome: "applied", reason: "", detail: "", caseId }
        : { outcome: "failed", reason: decision.reason, detail: toText(decision.metadata), caseId };
    };
  };
}

function toText(metadata: Readonly<Record<string, string>>): string {
  return Object.entries(metadata)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

/** The policy that holds for a case type now. */
export type FindPolicy = (caseType: string) => Promise<Policy>;

/** Reads each type's policy once. */
export function createFindPolicy(admin: CaseAdminClient, signal: AbortSignal): FindPolicy {
  const known = new Map<string, Promise<Policy>>();
  return (caseType) => {
    const policy = known.get(caseType) ?? readPolicy(admin, caseType, signal);
    known.set(caseType, policy);
    return policy;
  };
}

async function readPolicy(admin: CaseAdminClient, caseType: string, signal: AbortSignal): Promise<Policy> {
  const answer = await callThrough(() => admin.getCasePolicy({ caseType }), signal);
  if (isRefusal(answer)) throw new Failure(`the policy of ${caseType} cannot be read: ${answer.message}`);
  const { policy } = answer;
  if (!policy) throw new ConnectError("the answer holds no policy", Code.Internal);
  return {
    version: policy.policyVersion,
    approvalsRequired: policy.approvalsRequired === 2 ? 2 : 1,
    appealWindowDays: policy.appealWindowDays,
  };
}
