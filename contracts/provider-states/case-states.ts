import { randomUUID } from "node:crypto";

import { fromJson, type JsonObject } from "@bufbuild/protobuf";
import { type CaseClient, createCaseClient } from "#libs/client/case-client.ts";
import type { Json } from "#libs/contracts/contract.ts";
import type { Given } from "#libs/contracts/fill.ts";
import { isJsonObject } from "#libs/contracts/match.ts";
import type { Provider, StateSetup } from "#libs/contracts/verify.ts";
import { CaseContentSchema, CaseState, CaseStateSchema } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { type CaseServiceFixture, content, type PersonName } from "#test/support/case-service.ts";

/** The states of the case service that contracts may name, each brought about through its public methods. */
export function createCaseStates(
  cases: CaseServiceFixture,
  token: Provider["token"],
): { readonly [name: string]: StateSetup } {
  const as = (person: PersonName, tenant: string) => cases.as(person, tenant);
  return {
    /** Gives `caseId`, of a case that there is not. */
    "no case": async ({ tenant }) => ({ caseId: randomUUID(), tenantId: tenant }),

    /**
     * Parameters: `state` (draft, submitted, under_review, approved, rejected, closed), and, where they matter, `caseType`,
     * `externalReference` and `content`. Gives `caseId`, `version`, `tenantId`.
     */
    "a case": async ({ tenant, parameters }) => {
      const { state = "draft", ...rest } = parameters;
      const caseId = await openCase(await as("caseworker", tenant), rest);
      const version = await moveTo(readText(state), caseId, (person) => as(person, tenant));
      return { caseId, version, tenantId: tenant };
    },

    /** Parameters: `caseType`, `externalReference`, `content`. Gives `caseId`, `createRequestId`. */
    "a case that this caller opened": async ({ tenant, parameters, caller }) => {
      if (caller === undefined) throw new Error("the interaction names no caller");
      await using own = createCaseClient({ url: cases.url, token: await token(caller, tenant) });
      const createRequestId = randomUUID();
      return { caseId: await openCase(own, parameters, createRequestId), createRequestId };
    },

    /** Handed in at version 1. Parameters as above; gives `submitRequestId` as well. */
    "a case that this caller handed in": async ({ tenant, parameters, caller }) => {
      if (caller === undefined) throw new Error("the interaction names no caller");
      await using own = createCaseClient({ url: cases.url, token: await token(caller, tenant) });
      const [createRequestId, submitRequestId] = [randomUUID(), randomUUID()];
      const caseId = await openCase(own, parameters, createRequestId);
      await own.submitCase({ requestId: submitRequestId, caseId, expectedVersion: 1 });
      return { caseId, createRequestId, submitRequestId };
    },
  };
}

async function openCase(
  client: CaseClient,
  parameters: Given,
  requestId: string = randomUUID(),
): Promise<string> {
  const { caseType = "permit", externalReference = "", content: ownContent, ...unknown } = parameters;
  const [odd] = Object.keys(unknown);
  if (odd !== undefined) throw new Error(`there is no parameter ${odd}`);
  const { case: opened } = await client.createCase({
    requestId,
    caseType: readText(caseType),
    externalReference: readText(externalReference),
    content: ownContent === undefined ? content : readContent(ownContent),
  });
  if (!opened) throw new Error("the answer holds no case");
  return opened.caseId;
}

function readText(value: Json): string {
  if (typeof value !== "string") throw new Error(`${JSON.stringify(value)} is no text`);
  return value;
}

function readContent(value: Json) {
  if (!isJsonObject(value)) throw new Error("the parameter content is no object");
  return fromJson(CaseContentSchema, value as JsonObject); // It is not written to.
}

/** Takes a draft to a state, each step by whom it takes; returns its version there. */
async function moveTo(
  state: string,
  caseId: string,
  as: (person: PersonName) => Promise<CaseClient>,
): Promise<number> {
  const target = CaseStateSchema.values.find(({ localName }) => localName === state.toUpperCase())?.number;
  const write = () => ({ caseId, requestId: randomUUID() });
  const decide = async (reviewer: CaseClient) =>
    target === CaseState.REJECTED
      ? reviewer.rejectCase({ ...write(), reason: "no" })
      : reviewer.approveCase({ ...write(), reason: "In order." });
  const steps: readonly (() => Promise<unknown>)[] = [
    async () => (await as("caseworker")).submitCase(write()),
    async () => (await as("supervisor")).assignReviewer({ ...write(), reviewerId: "reviewer" }),
    async () => (await as("reviewer")).startReview(write()),
    async () => decide(await as("reviewer")),
    async () => (await as("supervisor")).closeCase(write()),
  ];
  const reader = await as("auditor");
  for (const step of [async () => {}, ...steps]) {
    await step();
    const { case: found } = await reader.getCase({ caseId });
    if (found?.state === target) return found?.version ?? 0;
  }
  throw new Error(`no way leads to the state ${state}`);
}
