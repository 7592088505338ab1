import { randomUUID } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { CaseClient } from "#libs/client/case-client.ts";
import { CaseState, CaseSchema, type Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { createSessionManager } from "#libs/rpc/session-manager.ts";
import { startAuditService, type AuditServiceFixture } from "./audit-service.ts";
import { cast, keyOf, type Facts, type Name, type Request, type State } from "./case-model.ts";
import type { Observation, Told } from "./case-model-beliefs.ts";
import type { Fault } from "./case-model-commands.ts";
import type { Sending, Subject } from "./case-model-run.ts";
import { startCaseService } from "./case-service.ts";
import { commitMessage } from "./cutting-commit.ts";
import { listenerOf, startCuttingProxy, throughProxy, type CuttingProxy } from "./cutting-proxy.ts";
import { cloneCaseDatabase, type CaseDatabase } from "./databases.ts";
import { refusalOf } from "./reason-of.ts";
import { createIssuer, type Issuer } from "./tokens.ts";

type Client = Pick<CaseClient, keyof CaseClient & string> &
  Pick<CaseAdminClient, keyof CaseAdminClient & string>;

/** Two replicas of the case service on one database, with proxies in front of it, and the audit service. */
export interface ModelServices extends AsyncDisposable {
  readonly issuer: Issuer;
  readonly audit: AuditServiceFixture;
  readonly database: CaseDatabase;
  readonly client: Client;
  token(tenant: string, who: Name): Promise<string>;
  /** Gives a tenant's `two_person_permit` the policy that it is named after. */
  setPolicy(tenant: string): Promise<void>;
  /** Runs the model's requests; knows the cases that came of them. */
  subject(): Subject & { readonly caseIds: ReadonlyMap<string, string> };
}

const callMs = 20_000;
const aheadMs = 60 * 60 * 1_000;

/** The second replica's clock is an hour ahead. */
export async function startModelServices(): Promise<ModelServices> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const audit = opened.use(await startAuditService({ issuer }));
  const database = opened.use(await cloneCaseDatabase());
  const front = opened.use(await startCuttingProxy(listenerOf(database.appUrl)));
  const relayFront = opened.use(await startCuttingProxy(listenerOf(database.relayUrl)));
  const proxied = {
    ...database,
    appUrl: throughProxy(database.appUrl, front),
    relayUrl: throughProxy(database.relayUrl, relayFront),
  };
  const replicas: Client[] = [];
  for (const aside of [0, aheadMs]) {
    const now = (): Date => new Date(Date.now() + aside);
    const config = { relayPollMs: 200 };
    const service = opened.use(
      await startCaseService({ issuer, auditUrl: audit.url, database: proxied, config, now }),
    );
    const sessions = opened.use(createSessionManager(service.url));
    const transport = createGrpcTransport({ baseUrl: service.url, sessionManager: sessions });
    replicas.push({ ...createClient(CaseService, transport), ...createClient(CaseAdminService, transport) });
  }
  const tokens = new Map<string, Promise<string>>();
  const token = (tenant: string, who: Name): Promise<string> => {
    const key = `${tenant}/${who}`;
    const made = tokens.get(key) ?? issuer.token({ tenant, sub: who, roles: cast[who] });
    tokens.set(key, made);
    return made;
  };
  const running = opened.move();
  return {
    issuer,
    audit,
    database,
    client: replicas[0]!, // There are two.
    token,
    async setPolicy(tenant) {
      const policy = { approvalsRequired: 2, appealWindowDays: 30 };
      const request = { requestId: randomUUID(), caseType: "two_person_permit", policy, reason: "four eyes" };
      const headers = { authorization: `Bearer ${await token(tenant, "otto")}` };
      await replicas[0]!.setCasePolicy(request, { headers });
    },
    subject: () => createSubject(replicas, token, front, relayFront),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function createSubject(
  replicas: readonly Client[],
  token: ModelServices["token"],
  front: CuttingProxy,
  relayFront: CuttingProxy,
): ReturnType<ModelServices["subject"]> {
  /** By case key, and the other way round. */
  const caseIds = new Map<string, string>();
  const caseKeys = new Map<string, string>();
  /** The first answer to each request that had an effect, in hex. */
  const firstBytes = new Map<string, string>();

  async function send({ request, replica }: Sending): Promise<Observation> {
    const { tenant, who } = request;
    let replayed = false;
    const call = callOf(replicas[replica]!, request, caseIds, {
      headers: { authorization: `Bearer ${await token(tenant, who)}` },
      timeoutMs: callMs,
      onHeader: (headers: Headers) => (replayed = headers.get("caseflow-replayed") === "true"),
    });
    const outcome = await refusalOf(call);
    if (outcome !== "accepted") return { request, told: toldOf(outcome) };
    const { case: found } = await call;
    if (!found) throw new Error("an answer without a case");
    const bytes = Buffer.from(toBinary(CaseSchema, found)).toString("hex");
    const first = firstBytes.get(keyOf(request)) ?? bytes;
    firstBytes.set(keyOf(request), first);
    if (bytes !== first) throw new Error(`${JSON.stringify(request)}: other bytes than at first`);
    return {
      request,
      told: { kind: "accepted", caseKey: learnCase(request, found), facts: factsOf(found), replayed },
    };
  }

  /** The model's name of the case; a creation's case is new, so its id must be. */
  function learnCase(request: Request, { caseId }: Case): string {
    const key = keyOf(request);
    if (request.message.action === "create" && !caseKeys.has(caseId) && !caseIds.has(key)) {
      caseIds.set(key, caseId);
      caseKeys.set(caseId, key);
    }
    return caseKeys.get(caseId) ?? `nobody created ${caseId}`;
  }

  return {
    caseIds,
    sendAgain: send,
    async sendAtOnce(sendings, fault) {
      const end = breakThings(fault, front, relayFront);
      const observations = await Promise.all(sendings.map(send));
      end();
      return observations;
    },
  };
}

/** Returns what makes all well again. */
function breakThings({ kind, delayMs }: Fault, front: CuttingProxy, relayFront: CuttingProxy): () => void {
  const load = { side: "client", has: "find_applied_request" } as const;
  const write = { side: "client", has: "save_" } as const;
  switch (kind) {
    case "none":
      return () => {};
    case "slow-load":
      return front.strike(load, { delayMs }).release;
    case "slow-write":
      return front.strike(write, { delayMs }).release;
    case "cut-load":
      return front.strike(load, "cut").release;
    case "cut-write":
      return front.strike(write, "cut").release;
    case "cut-commit":
      return front.strike({ ...write, before: commitMessage }, "cut").release;
    case "cut-answer":
      return front.strike(write, "cut-answer").release;
    case "cut-idle":
      front.cutAll();
      return () => {};
    case "cut-relay":
      relayFront.cutAll();
      return () => {};
    case "down":
      front.refusing = true;
      front.cutAll();
      return () => (front.refusing = false);
    default:
      return kind satisfies never;
  }
}

function callOf(
  client: Client,
  { requestId, message }: Request,
  caseIds: ReadonlyMap<string, string>,
  options: Parameters<Client["createCase"]>[1],
): Promise<{ readonly case?: Case | undefined }> {
  const { action, caseKey = "", expectedVersion, reason = "", law = "", reviewer = "" } = message;
  const { caseType = "permit" } = message;
  const content = {
    ...message.content,
    people: (message.content?.people ?? []).map((name) => ({ name, role: "applicant" })),
  };
  // A key that no case has is a UUID, and goes as it is.
  const caseId = caseIds.get(caseKey) ?? caseKey;
  const write = { requestId, caseId, ...(expectedVersion !== undefined && { expectedVersion }) };
  switch (action) {
    case "create":
      return client.createCase({ requestId, caseType, content }, options);
    case "update":
      return client.updateCase(
        { ...write, content, updateMask: { paths: [...(message.fields ?? [])] } },
        options,
      );
    case "submit":
      return client.submitCase(write, options);
    case "assign_reviewer":
      return client.assignReviewer({ ...write, reviewerId: reviewer }, options);
    case "start_review":
      return client.startReview(write, options);
    case "approve":
      return client.approveCase({ ...write, reason }, options);
    case "reject":
      return client.rejectCase({ ...write, reason }, options);
    case "appeal":
      return client.appealCase({ ...write, grounds: reason }, options);
    case "start_appeal_review":
      return client.startAppealReview(write, options);
    case "approve_appeal":
      return client.approveAppeal({ ...write, reason }, options);
    case "reject_appeal":
      return client.rejectAppeal({ ...write, reason }, options);
    case "override": {
      const targetState = message.target === "rejected" ? CaseState.REJECTED : CaseState.APPROVED;
      return client.overrideDecision({ ...write, targetState, reason, legalAuthority: law }, options);
    }
    case "close":
      return client.closeCase({ ...write, reason }, options);
    case "place_hold":
      return client.placeHold({ ...write, reason, legalBasis: law }, options);
    case "release_hold":
      return client.releaseHold({ ...write, reason, legalBasis: law }, options);
    case "erase":
      return client.eraseCase({ ...write, reason, legalBasis: law }, options);
    default:
      return action satisfies never;
  }
}

function toldOf(outcome: string): Told {
  switch (outcome) {
    case "Unavailable OUTCOME_UNKNOWN":
      return { kind: "unknown" };
    case "Unavailable DEPENDENCY_DOWN":
    case "Unavailable OVERLOADED":
      return { kind: "nothing" };
    default:
      return { kind: "refused", outcome };
  }
}

/** A case as the model speaks of it. */
export function factsOf(found: Case): Facts {
  const { overrideProposal: proposal } = found;
  return {
    state: stateOf(found.state),
    version: found.version,
    title: found.content?.title ?? "",
    summary: found.content?.summary ?? "",
    people: (found.content?.people ?? []).map(({ name }) => name),
    contentVersion: found.contentVersion,
    creator: found.creatorId,
    submitter: found.submitterId,
    reviewer: found.assignedReviewerId,
    startedBy: found.reviewStartedById,
    approvers: found.approverIds,
    rejecter: found.rejecterId,
    required: found.approvalsRequired,
    proposal: proposal
      ? {
          who: proposal.proposerId,
          target: proposal.targetState === CaseState.REJECTED ? "rejected" : "approved",
          words: `${proposal.reason} (${proposal.legalAuthority})`,
        }
      : "none",
    overriders: found.overriderIds,
    appellant: found.appeal?.appellantId ?? "",
    judge: found.appeal?.reviewerId ?? "",
    appealOutcome: stateOf(found.appeal?.outcome ?? CaseState.UNSPECIFIED),
    held: found.onHold,
    erased: found.erased,
  };
}

export function stateOf(state: CaseState): State {
  return state === CaseState.UNSPECIFIED ? "none" : (nameOf(CaseState, state) as State); // Equal by name.
}

/** The name of an enum's value, in lower case. */
export function nameOf(names: Readonly<Record<string, number>>, value: number): string {
  return (
    Object.keys(names)
      .find((name) => names[name] === value)
      ?.toLowerCase() ?? `value ${value}`
  );
}
