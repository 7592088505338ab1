import { randomUUID } from "node:crypto";
import { expect } from "vitest";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import type { Message } from "@bufbuild/protobuf";
import type { Answer } from "./attack-answer.ts";
import { createAttacker } from "./attack-call.ts";
import { attackSource, makeRequest } from "./attack-request.ts";
import { startAuditService } from "./audit-service.ts";
import { startCaseService } from "./case-service.ts";
import type { AuditDatabase, CaseDatabase } from "./databases.ts";
import { rowDigests } from "./row-digests.ts";
import { walkMethods } from "./schema-walk.ts";
import { openSuperuser } from "./superuser.ts";

/** Both services, verifying with the keys of one URL; each is tried with a write. */
export interface TokenTarget extends AsyncDisposable {
  /** Creates a case, and delivers an event. `authorization` is the header, whole. */
  write(authorization: string | undefined, headers?: Readonly<Record<string, string>>): Promise<Writes>;
  /** Creates a case. */
  create(token: string): Promise<Answer>;
  /** Of every row of both databases. */
  stored(): Promise<unknown>;
  /** Who has cases. */
  tenants(): Promise<readonly string[]>;
  /** Of the case service. */
  readonly url: string;
}

export interface Writes {
  readonly created: Answer;
  readonly recorded: Answer;
}

export const issuer = "https://issuer.attack.test";
export const audience = "caseflow-attack";

/** Claims that may do both writes for ten minutes. */
export function goodClaims(): Record<string, unknown> {
  return {
    iss: issuer,
    aud: audience,
    exp: Math.floor(Date.now() / 1_000) + 600,
    sub: "mallory",
    tenant_id: "acme",
    roles: ["caseworker", "event_source"],
    kind: "person",
    sources: [attackSource],
    jti: randomUUID(),
  };
}

/** What a target may share with others that come after it. */
export interface TokenDatabases {
  readonly cases: CaseDatabase;
  readonly audit: AuditDatabase;
}

export async function startTokenTarget(jwks: string, databases?: TokenDatabases): Promise<TokenTarget> {
  await using opened = new AsyncDisposableStack();
  const config = { jwks: new URL(jwks), jwtIssuer: issuer, jwtAudience: audience };
  const cases = opened.use(
    await startCaseService({
      config: { ...config, relay: "off" },
      ...(databases && { database: databases.cases }),
    }),
  );
  const audit = opened.use(
    await startAuditService({ config, ...(databases && { database: databases.audit }) }),
  );
  const attacker = opened.use(createAttacker());
  const walked = await walkMethods();
  const requestOf = (method: object): Message => {
    const found = walked.find((candidate) => candidate.method === method);
    const message = found && makeRequest(found);
    if (message === undefined) throw new Error("the schema has no such method");
    return message;
  };
  const call =
    (url: string, method: typeof CaseService.method.createCase | typeof AuditService.method.recordEvents) =>
    (headers: Readonly<Record<string, string>>) =>
      attacker.call(url, method, requestOf(method), undefined, headers);
  const create = call(cases.url, CaseService.method.createCase);
  const record = call(audit.url, AuditService.method.recordEvents);
  const running = opened.move();
  return {
    async write(authorization, headers = {}) {
      const all = { ...headers, ...(authorization !== undefined && { authorization }) };
      const [created, recorded] = await Promise.all([create(all), record(all)]);
      return { created, recorded };
    },
    create: (token) => create({ authorization: `Bearer ${token}` }),
    stored: () => Promise.all([cases, audit].map(({ database }) => rowDigests(database.superuserUrl))),
    async tenants() {
      await using superuser = await openSuperuser(cases.database.superuserUrl);
      const { rows } = await superuser.query<{ tenant_id: string }>("SELECT DISTINCT tenant_id FROM cases");
      return rows.map(({ tenant_id: tenantId }) => tenantId);
    },
    url: cases.url,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** One class of refusals: a stranger cannot tell much from them, and least of all repeats what was sent. */
export function expectUnauthenticated({ outcome, error, raw }: Answer, authorization = ""): void {
  expect(outcome).toBe("unauthenticated UNAUTHENTICATED");
  const [info, request] = error!.details as { type: string; said: Record<string, unknown> }[];
  expect(error!.details).toHaveLength(2);
  expect(info).toMatchObject({
    type: "google.rpc.ErrorInfo",
    said: { domain: "caseflow", metadata: { why: expect.any(String) } },
  });
  expect(Object.keys(info!.said["metadata"] as object)).toEqual(["why"]);
  expect(request).toMatchObject({ type: "google.rpc.RequestInfo" });
  expect(error!.message).toMatch(/^(the token|a bearer token)[a-z' ]{5,70}$/);
  for (const part of authorization.split(/[. ,]/)) if (part.length > 8) expect(raw).not.toContain(part);
}
