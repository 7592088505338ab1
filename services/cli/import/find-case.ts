import type { CaseClient } from "#libs/client/case-client.ts";
import type { Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { ListCasesRequestSchema, type HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

import { readCases, readHistory } from "../read-cases.ts";
import { callThrough, isRefusal } from "./call.ts";
import type { Staging } from "./staging.ts";
import { isValid } from "./to-request.ts";
import { Failure } from "../failure.ts";

/** A case as the service has it now. */
export interface FoundCase {
  readonly found: Case;
  /** Oldest first. */
  readonly entries: readonly HistoryEntry[];
}

/** Finds what an earlier run made of a case of the source; `undefined` when none did. */
export type FindCase = (caseKey: string) => Promise<FoundCase | undefined>;

export interface Finding {
  readonly cases: CaseClient;
  readonly staging: Staging;
  /** The importer itself, by the token's `sub`. */
  readonly principalId: string;
  readonly signal: AbortSignal;
}

/**
 * A case is known by the request id of its creation, which a row of the file gives; so this holds also after the
 * recorded answer has expired. Where the file has no row that creates the case, as one with later actions only, it is the
 * oldest case with the key as its reference that this importer brought in.
 */
export function createFindCase(finding: Finding): FindCase {
  const { staging } = finding;
  let unnamed: Promise<ReadonlyMap<string, string>> | undefined;
  return async (caseKey) => {
    const creations = staging.creationsOf(caseKey);
    const requestIds = new Set(creations.map(({ requestId }) => requestId));
    const command = creations[0]?.command;
    const reference = command?.action === "create" ? command.externalReference : caseKey;
    if (reference === "") {
      unnamed ??= findUnnamed(finding);
      const known = await unnamed;
      const caseId = [...requestIds].map((id) => known.get(id)).find((id) => id !== undefined);
      return caseId === undefined ? undefined : read(finding, caseId);
    }
    const query = { externalReference: reference };
    if (!isValid(ListCasesRequestSchema, query)) return undefined; // No case can have it.
    let fallback: string | undefined;
    for await (const { caseId } of through(finding, () => readCases(finding.cases, query))) {
      const [created] = await firstEntry(finding, caseId);
      if (created === undefined) continue;
      if (requestIds.has(created.requestId)) return read(finding, caseId);
      const { actor } = created;
      const isOurs = actor?.id === finding.principalId && actor.onBehalfOf !== "";
      if (isOurs && creations.length === 0) fallback = caseId; // Newest first: the last one is the oldest.
    }
    return fallback === undefined ? undefined : read(finding, fallback);
  };
}

/** Cases without a reference, by the request id that created them: they can only be looked for among all. */
async function findUnnamed(finding: Finding): Promise<ReadonlyMap<string, string>> {
  const known = new Map<string, string>();
  for await (const { caseId, externalReference } of through(finding, () => readCases(finding.cases, {}))) {
    if (externalReference !== "") continue;
    const [created] = await firstEntry(finding, caseId);
    if (created) known.set(created.requestId, caseId);
  }
  return known;
}

async function read(finding: Finding, caseId: string): Promise<FoundCase> {
  const answer = await callThrough(async () => {
    const { case: found } = await finding.cases.getCase({ caseId });
    const entries: HistoryEntry[] = [];
    for await (const entry of readHistory(finding.cases, caseId)) entries.push(entry);
    return { found, entries };
  }, finding.signal);
  if (isRefusal(answer)) throw new Failure(`case ${caseId} cannot be read: ${answer.message}`);
  if (!answer.found) throw new Error("the answer holds no case");
  return { found: answer.found, entries: answer.entries };
}

async function firstEntry({ cases, signal }: Finding, caseId: string): Promise<HistoryEntry[]> {
  const answer = await callThrough(() => cases.getCaseHistory({ caseId, pageSize: 1 }), signal);
  if (isRefusal(answer)) throw new Failure(`case ${caseId} cannot be read: ${answer.message}`);
  return answer.entries;
}

/** The items of a paged read, all or, where the service refuses, none. */
async function* through<T>({ signal }: Finding, open: () => AsyncGenerator<T>): AsyncGenerator<T> {
  const items = await callThrough(async () => {
    const all: T[] = [];
    for await (const item of open()) all.push(item);
    return all;
  }, signal);
  if (isRefusal(items)) throw new Failure(`cases cannot be listed: ${items.message}`);
  yield* items;
}
