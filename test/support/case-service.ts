import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createCaseAdminClient, type CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import type { CaseContentSchema } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { defaultRates } from "#libs/service/limit-settings.ts";
import type { Config, RelayConfig } from "#services/case/config.ts";
import { start } from "#services/case/main.ts";
import { canaries } from "./canaries.ts";
import { cloneCaseDatabase, type CaseDatabase } from "./databases.ts";
import { keptLog } from "./kept-output.ts";
import { createIssuer, type Issuer } from "./tokens.ts";
import { patientLimits } from "./bare-limits.ts";

/** The people of the tests, each with the role they act in. */
export const people = {
  caseworker: ["caseworker"],
  colleague: ["caseworker"],
  reviewer: ["reviewer"],
  reviewer2: ["reviewer"],
  judge: ["reviewer"],
  supervisor: ["supervisor"],
  supervisor2: ["supervisor"],
  operator: ["operator"],
  importer: ["importer"],
  auditor: ["auditor"],
  everything: ["caseworker", "reviewer", "supervisor"],
} as const;
export type PersonName = keyof typeof people;

export interface CaseServiceFixture extends AsyncDisposable {
  readonly url: string;
  readonly metricsUrl: string;
  readonly database: CaseDatabase;
  readonly issuer: Issuer;
  /** A client for one of the people, made once; of tenant `acme` unless another is named. */
  as(person: PersonName, tenant?: string): Promise<CaseClient>;
  /** The administration, for the operator. */
  admin(tenant?: string): Promise<CaseAdminClient>;
  token(person: PersonName, tenant?: string): Promise<string>;
}

export const tenant = "acme";

/** The service's settings with the relay's among them. */
export type CaseServiceConfig = Partial<Omit<Config, "relay"> & RelayConfig> & {
  readonly relay?: "in-process" | "off";
};

export const content: MessageInitShape<typeof CaseContentSchema> = {
  title: canaries.title,
  summary: canaries.summary,
  people: [{ name: canaries.name, role: "applicant", contact: canaries.contact }],
};

/**
 * The real case service in this process, on a database and ports of its own. Without `auditUrl` its relay finds nobody
 * at home, which no write minds.
 */
export async function startCaseService(
  options: {
    readonly auditUrl?: string;
    readonly issuer?: Issuer;
    readonly config?: CaseServiceConfig;
    readonly database?: CaseDatabase;
    readonly now?: () => Date;
  } = {},
): Promise<CaseServiceFixture> {
  await using opened = new AsyncDisposableStack();
  const issuer = options.issuer ?? opened.use(await createIssuer());
  const database = options.database ?? opened.use(await cloneCaseDatabase());
  const { relay = "in-process", ...config } = options.config ?? {};
  const relayConfig: RelayConfig = {
    relayDatabaseUrl: database.relayUrl,
    auditUrl: options.auditUrl ?? "http://127.0.0.1:1",
    auditTokenFile: await writeRelayToken(issuer),
    relayPollMs: 1_000,
    logLevel: "silent",
    ...config,
  };
  const service = opened.use(
    await start(
      {
        host: "127.0.0.1",
        port: 0,
        metricsPort: 0,
        databaseUrl: database.appUrl,
        poolMax: 10,
        replicaCount: 1,
        jwks: pathToFileURL(issuer.jwks),
        jwtIssuer: issuer.issuer,
        jwtAudience: issuer.audience,
        relay: relay === "off" ? undefined : relayConfig,
        rates: defaultRates,
        disabledMethods: [],
        announceMs: 0,
        drainMs: 5_000,
        debugTenant: undefined,
        settings: [],
        logLevel: "silent",
        ...config,
      },
      { version: "0.0.0-test", commit: "test" },
      keptLog("case-test"),
      options.now,
    ),
  );
  const clients = opened.use(new AsyncDisposableStack());
  const known = new Map<string, CaseClient>();
  const admins = new Map<string, CaseAdminClient>();
  const token = (person: PersonName, of = tenant): Promise<string> =>
    issuer.token({ tenant: of, sub: person, roles: people[person] });
  const running = opened.move();
  return {
    url: service.url,
    metricsUrl: service.metricsUrl,
    database,
    issuer,
    token,
    async as(person, of = tenant) {
      const key = `${of}/${person}`;
      const client =
        known.get(key) ??
        clients.use(
          createCaseClient({
            url: service.url,
            token: await token(person, of),
            limits: patientLimits,
          }),
        );
      known.set(key, client);
      return client;
    },
    async admin(of = tenant) {
      const client =
        admins.get(of) ??
        clients.use(
          createCaseAdminClient({
            url: service.url,
            token: await token("operator", of),
            limits: patientLimits,
          }),
        );
      admins.set(of, client);
      return client;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The token of the relay, in a file as the service wants it; it outlives any campaign. */
export async function writeRelayToken(issuer: Issuer): Promise<string> {
  const path = join(tmpdir(), `caseflow-relay-token-${randomUUID()}`);
  const token = await issuer.token({
    sub: "case-relay",
    kind: "service",
    roles: ["event_source"],
    sources: ["caseflow/case"],
    expiresInSeconds: 86_400,
  });
  await writeFile(path, token, { mode: 0o600 });
  return path;
}

/** Sets the rules of a case type: two people approve, unless said otherwise. */
export async function setPolicy(
  cases: CaseServiceFixture,
  caseType: string,
  of = tenant,
  policy = { approvalsRequired: 2, appealWindowDays: 30 },
): Promise<void> {
  const admin = await cases.admin(of);
  await admin.setCasePolicy({ requestId: randomUUID(), caseType, policy, reason: "four eyes" });
}

/** How far a case is taken: the states, and where the reviewer is named, in the order in which they come. */
export type Stage =
  | "draft"
  | "submitted"
  | "assigned"
  | "under_review"
  | "approved"
  | "rejected"
  | "appealed"
  | "appeal_under_review"
  | "appeal_approved"
  | "appeal_rejected"
  | "closed";

/**
 * Takes a new case as far as `until`, each step by whom it takes; returns its id. Where two approvals are required, of
 * which the first is not by whoever started the review, two people approve.
 */
export async function openCase(
  cases: Pick<CaseServiceFixture, "as">,
  until: Stage = "draft",
  of = tenant,
  caseType = "permit",
): Promise<string> {
  const write = (caseId: string) => ({ caseId, requestId: randomUUID() });
  const caseworker = await cases.as("caseworker", of);
  const created = await caseworker.createCase({ requestId: randomUUID(), caseType, content });
  const { caseId: id, approvalsRequired } = created.case!;
  const [reviewer, reviewer2, judge, supervisor] = await Promise.all(
    (["reviewer", "reviewer2", "judge", "supervisor"] as const).map((person) => cases.as(person, of)),
  );
  const { reason, grounds } = canaries;
  const approve = async () => {
    await reviewer!.approveCase(write(id));
    if (approvalsRequired === 2) await reviewer2!.approveCase(write(id));
  };
  const rejects = until === "rejected" || until === "appeal_rejected";
  const steps: readonly [Stage, () => Promise<unknown>][] = [
    ["draft", async () => {}],
    ["submitted", () => caseworker.submitCase(write(id))],
    ["assigned", () => supervisor!.assignReviewer({ ...write(id), reviewerId: "reviewer" })],
    ["under_review", () => reviewer!.startReview(write(id))],
    rejects ? ["rejected", () => reviewer!.rejectCase({ ...write(id), reason })] : ["approved", approve],
    ["appealed", () => caseworker.appealCase({ ...write(id), grounds })],
    ["appeal_under_review", () => judge!.startAppealReview(write(id))],
    rejects
      ? ["appeal_rejected", () => judge!.rejectAppeal({ ...write(id), reason })]
      : ["appeal_approved", () => judge!.approveAppeal({ ...write(id), reason })],
  ];
  for (const [name, step] of steps) {
    // A case that is to be closed is not appealed.
    if (until === "closed" && name === "appealed") return close(supervisor!, id);
    await step();
    if (name === until) break;
  }
  return id;
}

async function close(supervisor: CaseClient, caseId: string): Promise<string> {
  await supervisor.closeCase({ caseId, requestId: randomUUID() });
  return caseId;
}
