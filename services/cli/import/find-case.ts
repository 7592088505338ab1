import type { CaseClient } from "#libs/client/case-client.ts";
import type { Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { ListCasesRequestSchema, type HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

import { Failure } from "../failure.ts";
import { readCases, readHistory } from "../read-cases.ts";
import { callThrough, isRefusal } from "./call.ts";
import type { Staging } from "./staging.ts";
import { isValid } from "./to-request.ts";

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
  let isEmpty: Promise<boolean> | undefined;
  let unnamed: Promise<ReadonlyMap<string, string>> | undefined;
  return async (caseKey) => {
    // Into an empty tenant nothing was imported yet; what a killed run still has under way is answered as a replay.
    isEmpty ??= ask(finding, () => finding.cases.listCases({ pageSize: 1 })).then(
      (page) => page.cases.length === 0,
    );
    if (await isEmpty) return undefined;
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
    let fallback: FoundCase | undefined;
    for (const found of await ask(finding, () => Array.fromAsync(readCases(finding.cases, query)))) {
      const candidate = await readCandidate(finding, found);
      const [created] = candidate.entries;
      if (created === undefined) continue;
      if (requestIds.has(created.requestId)) return candidate;
      const { actor } = created;
      const isOurs = actor?.id === finding.principalId && actor.onBehalfOf !== "";
      if (isOurs && creations.length === 0) fallback = candidate; // Newest first: the last one is the oldest.
    }
    return fallback;
  };
}

/** Cases without a reference, by the request id that created them: they can only be looked for among all. */
async function findUnnamed(finding: Finding): Promise<ReadonlyMap<string, string>> {
  const known = new Map<string, string>();
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await ask(finding, () => finding.cases.listCases({ pageSize: 500, pageToken }));
    for (const { caseId, externalReference } of page.cases) {
      if (externalReference !== "") continue;
      const { entries } = await ask(finding, () => finding.cases.getCaseHistory({ caseId, pageSize: 1 }));
      if (entries[0]) known.set(entries[0].requestId, caseId);
    }
    pageToken = page.nextPageToken;
  }
  return known;
}

async function readCandidate(finding: Finding, found: Case): Promise<FoundCase> {
  const { caseId } = found;
  const entries = await ask(finding, () => Array.fromAsync(readHistory(finding.cases, caseId)));
  // Somebody may have changed it since it was listed.
  return entries.length === found.version ? { found, entries } : read(finding, caseId);
}

async function read(finding: Finding, caseId: string): Promise<FoundCase> {
  const { case: found } = await ask(finding, () => finding.cases.getCase({ caseId }));
  if (!found) throw new Error("the answer holds no case");
  return { found, entries: await ask(finding, () => Array.fromAsync(readHistory(finding.cases, caseId))) };
}

async function ask<T>({ signal }: Finding, call: () => Promise<T>): Promise<T> {
  const answer = await callThrough(call, signal);
  if (isRefusal(answer)) throw new Failure(`cases cannot be read: ${answer.message}`);
  return answer;
}
