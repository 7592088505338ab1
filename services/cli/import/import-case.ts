import { timestampMs } from "@bufbuild/protobuf/wkt";

import { alreadyApplied, type Applied, type Applier, type FindPolicy } from "./apply.ts";
import type { FindCase, FoundCase } from "./find-case.ts";
import type { Position, StagedPlan, Staging } from "./staging.ts";
import { toRequest } from "./to-request.ts";

export interface CaseImport {
  readonly staging: Staging;
  readonly findCase: FindCase;
  readonly findPolicy: FindPolicy;
  readonly applier: Applier;
  /** Told what became of each row. */
  readonly onSettled: (plan: StagedPlan, applied: Applied) => void;
  readonly signal: AbortSignal;
}

/**
 * Imports the rows of one case in the order of their time. What comes before an action that was applied is never applied
 * after it: the decisions since then were made without it. Stops between two rows when the signal says so.
 */
export async function importCase(caseKey: string, import_: CaseImport): Promise<void> {
  const { staging, findCase, applier, onSettled, signal } = import_;
  const before = await findCase(caseKey);
  const progress = begin(caseKey, staging, before);
  const apply = applier(before);
  for (const plan of staging.plansOf(caseKey)) {
    if (signal.aborted) return;
    const refused = judge(plan, progress, staging) ?? (await judgePolicy(plan, import_.findPolicy));
    const settled = refused ?? (await applyPlan(plan, progress, staging, apply));
    if (settled.outcome !== "failed" && refused === undefined) advance(progress, plan, settled);
    staging.settle(plan.row, settled);
    onSettled(plan, settled);
  }
}

/** What is known of a case between two of its rows. */
interface Progress {
  exists: boolean;
  caseId: string;
  /** When the latest applied action happened. */
  lastMs: number;
  /** The last row of this file that was applied, now or by an earlier run. */
  lastPosition: Position | undefined;
  /** Request ids of what was applied. */
  readonly applied: Set<string>;
}

function begin(caseKey: string, staging: Staging, before: FoundCase | undefined): Progress {
  const entries = before?.entries ?? [];
  const positions = entries.flatMap(({ requestId }) => staging.positionOf(caseKey, requestId) ?? []);
  const last = entries.at(-1)?.occurredAt;
  return {
    exists: before !== undefined,
    caseId: before?.found.caseId ?? "",
    lastMs: last ? timestampMs(last) : 0,
    lastPosition: positions.toSorted(compare).at(-1),
    applied: new Set(entries.map(({ requestId }) => requestId)),
  };
}

function advance(progress: Progress, plan: StagedPlan, { caseId }: Applied): void {
  progress.exists = true;
  progress.caseId = caseId;
  progress.lastMs = plan.occurredAtMs;
  progress.applied.add(plan.requestId);
}

/** What can be told without asking the rules; `undefined`: they decide. */
function judge(plan: StagedPlan, progress: Progress, staging: Staging): Applied | undefined {
  const { exists, caseId, applied, lastMs, lastPosition } = progress;
  const fail = (reason: string, detail: string): Applied => ({ outcome: "failed", reason, detail, caseId });
  const { action } = plan.command;
  if (applied.has(plan.requestId)) return alreadyApplied(caseId);
  if (plan.repeats !== undefined) {
    return fail("DUPLICATE_ROW", `it repeats row ${plan.repeats}, which was not applied`);
  }
  if (plan.occurredAtMs < lastMs || (lastPosition && compare(plan, lastPosition) < 0)) {
    return fail("OUT_OF_ORDER", "a later action of its case was applied before");
  }
  if (exists === (action === "create")) {
    return fail("INVALID_TRANSITION", exists ? "the case is there already" : "there is no case yet");
  }
  const { nextActorOf } = plan;
  if (nextActorOf !== undefined && staging.nextActorOf(plan.caseKey, nextActorOf, plan) === undefined) {
    return fail("INVALID_ROW", `no later row of its case is ${nextActorOf}, which would name the reviewer`);
  }
  return undefined;
}

async function judgePolicy(
  { command, policy }: StagedPlan,
  findPolicy: FindPolicy,
): Promise<Applied | undefined> {
  if (policy === undefined || command.action !== "create") return undefined;
  const held = await findPolicy(command.caseType);
  const { approvalsRequired, appealWindowDays } = policy;
  if (held.approvalsRequired === approvalsRequired && held.appealWindowDays === appealWindowDays) {
    return undefined;
  }
  const detail =
    `its case was decided with approvals_required ${approvalsRequired} and appeal_window_days ` +
    `${appealWindowDays}; here ${command.caseType} has ${held.approvalsRequired} and ${held.appealWindowDays}`;
  return { outcome: "failed", reason: "POLICY_DIFFERS", detail, caseId: "" };
}

async function applyPlan(
  plan: StagedPlan,
  { caseId, exists }: Progress,
  staging: Staging,
  apply: ReturnType<Applier>,
): Promise<Applied> {
  const { nextActorOf, command } = plan;
  const reviewerId =
    nextActorOf === undefined ? undefined : staging.nextActorOf(plan.caseKey, nextActorOf, plan);
  const whole =
    command.action === "assign_reviewer" && reviewerId !== undefined
      ? { ...plan, command: { ...command, reviewerId } }
      : plan;
  // In a dry run a case may exist that has no id yet: any will do for the schema.
  const request = toRequest(whole, exists && caseId === "" ? anyCaseId : caseId);
  if (request.fault !== "") {
    return { outcome: "failed", reason: "INVALID_REQUEST", detail: request.fault, caseId };
  }
  return apply(whole, request);
}

const anyCaseId = "00000000-0000-7000-8000-000000000000";

function compare(one: Position, other: Position): number {
  return one.occurredAtMs - other.occurredAtMs || one.row - other.row;
}
