import { randomUUID } from "node:crypto";
import { ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { RetryInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { readConfig as readAuditConfig } from "#services/audit/config.ts";
import { readConfig as readCaseConfig } from "#services/case/config.ts";
import { frame } from "../support/attack-http.ts";
import { startAuditService } from "../support/audit-service.ts";
import { content, openCase, startCaseService } from "../support/case-service.ts";
import { countMetrics } from "../support/count-metrics.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { sendHttp2 } from "../support/raw-http.ts";
import { refusalOf } from "../support/reason-of.ts";
import { openSuperuser } from "../support/superuser.ts";
import { untilDelivered } from "../support/until-delivered.ts";

expectNoLeaks();

/* What an operator switches off, of both services. */

const refused = "Unavailable METHOD_DISABLED";
const services = [CaseService, CaseAdminService, AuditService];
const { typeName } = CaseService;
const newCase = (requestId = randomUUID()) => ({ requestId, caseType: "permit", content });

const least = {
  case: { CASE_DATABASE_URL: "postgresql://case_app@db/case", RELAY: "off" },
  audit: { AUDIT_DATABASE_URL: "postgresql://audit_app@db/audit" },
  both: { CASEFLOW_JWKS: "keys.json", CASEFLOW_JWT_ISSUER: "i", CASEFLOW_JWT_AUDIENCE: "a" },
};
const readBoth = (names: string) => {
  const env = { ...least.case, ...least.audit, ...least.both, CASEFLOW_DISABLED_METHODS: names };
  return [readCaseConfig(env), readAuditConfig(env)].map(({ disabledMethods }) => disabledMethods);
};

test("each method of the two services can be named, by its own name alone too, and both services take either's", () => {
  for (const { typeName: service, methods } of services) {
    for (const { name } of methods) {
      const whole = [`${service}/${name}`];
      expect(readBoth(name), name).toEqual([whole, whole]);
      expect(readBoth(whole[0]!), name).toEqual([whole, whole]);
    }
  }
  expect(() => readBoth("ApproveCase,Approve")).toThrow(/"Approve" will not do; allowed: .*\bApproveCase\b/);
});

test("a method that is switched off is refused without a word of when, stores nothing, and others go on", async () => {
  using counted = countMetrics();
  const config = { relay: "off", disabledMethods: [`${typeName}/CreateCase`] } as const;
  await using cases = await startCaseService({ config });
  const caseworker = await cases.as("caseworker");
  const requestId = randomUUID();
  const refusal = ConnectError.from(
    await caseworker.createCase(newCase(requestId)).catch((error: unknown) => error),
  );
  expect(await refusalOf(Promise.reject(refusal))).toBe(refused);
  expect(refusal.findDetails(RetryInfoSchema)).toEqual([]);
  expect(await refusalOf(caseworker.listCases({}))).toBe("accepted");
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  for (const table of ["cases", "audit_entries", "outbox", "recorded_answers"]) {
    expect((await superuser.query(`SELECT FROM ${table}`)).rowCount, table).toBe(0);
  }
  const count = `rpc.server.requests ${typeName}/CreateCase unavailable METHOD_DISABLED`;
  expect(counted.counts.get(count)).toBe(1);

  const { issuer, database } = cases;
  await using on = await startCaseService({ issuer, database, config: { relay: "off" } });
  expect(await refusalOf((await on.as("caseworker")).createCase(newCase(requestId)))).toBe("accepted");
});

test("it is refused after its caller is known, and before its body is read", async () => {
  const config = { relay: "off", disabledMethods: [`${typeName}/CreateCase`] } as const;
  await using cases = await startCaseService({ config });
  const body = frame(Buffer.alloc(0), 0, 1_000).subarray(0, 5); // What it announces does not come.
  const send = async (headers: Record<string, string>) => {
    const { headers: head, trailers } = await sendHttp2(cases.url, {
      path: `/${typeName}/CreateCase`,
      headers: { "content-type": "application/grpc", te: "trailers", ...headers },
      body,
      ends: false,
    });
    return { ...head, ...trailers }["grpc-status"];
  };
  expect(await send({})).toBe("16");
  expect(await send({ authorization: `Bearer ${await cases.token("reviewer")}` })).toBe("7");
  expect(await send({ authorization: `Bearer ${await cases.token("caseworker")}` })).toBe("14");
});

test("the typed client tries once, and its breaker stays closed for the calls that are served", async () => {
  using counted = countMetrics();
  const config = { relay: "off", disabledMethods: [`${typeName}/ListCases`] } as const;
  await using cases = await startCaseService({ config });
  await using client = createCaseClient({
    url: cases.url,
    token: await cases.token("caseworker"),
    limits: { breaker: { countMin: 5 } },
  });
  for (let made = 0; made < 20; made++) expect(await refusalOf(client.listCases({}))).toBe(refused);
  const count = `rpc.server.requests ${typeName}/ListCases unavailable METHOD_DISABLED`;
  expect(counted.counts.get(count)).toBe(20);
  expect(await refusalOf(client.createCase(newCase()))).toBe("accepted");
});

test("with deliveries switched off at the audit service writes go on, and arrive once they are on again", async () => {
  await using on = await startAuditService();
  const { issuer, database } = on;
  const method = `${AuditService.typeName}/RecordEvents`;
  await using off = await startAuditService({ issuer, database, config: { disabledMethods: [method] } });
  const source = await off.source();
  expect(await refusalOf(source.recordEvents({ events: [makeEvent().bytes] }))).toBe(refused);
  {
    await using cases = await startCaseService({ issuer, auditUrl: off.url, config: { relayPollMs: 20 } });
    await openCase(cases, "closed");
    await using superuser = await openSuperuser(cases.database.superuserUrl);
    expect((await superuser.query("SELECT FROM outbox")).rowCount).toBe(6);
    await using _again = await startCaseService({
      issuer,
      database: cases.database,
      auditUrl: on.url,
      config: { relayPollMs: 20 },
    });
    await untilDelivered(cases.database);
    expect((await superuser.query("SELECT FROM dead_letters")).rowCount).toBe(0);
  }
  const { events } = await (await on.auditor()).listEvents({});
  expect(events).toHaveLength(6);
});
