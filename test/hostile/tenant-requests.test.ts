import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTenants, type Tenants } from "../support/attack-tenants.ts";
import { content, openCase } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { listAllEvents } from "../support/pair.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let tenants: Tenants;

beforeAll(async () => {
  tenants = stack.use(await startTenants());
});
afterAll(() => stack.disposeAsync());

test("a request id that the victim used is unused to somebody of the same name elsewhere, and stays the victim's", async () => {
  const { cases, known, attacker } = tenants;
  const requestId = String(known["request of caseflow.case.submitted"]);
  const replayed: (string | null)[] = [];
  const submit = async (tenant: string, caseId: string) => {
    const onHeader = (headers: Headers) => replayed.push(headers.get("caseflow-replayed"));
    const answer = await (
      await cases.as("caseworker", tenant)
    ).submitCase({ requestId, caseId }, { onHeader });
    return answer.case!.caseId;
  };
  const victimsCase = String(known["closed"]);
  const own = await openCase(cases, "draft", attacker);
  expect(await submit(tenants.victim, victimsCase)).toBe(victimsCase);
  expect(await submit(attacker, own)).toBe(own);
  expect(await submit(attacker, own)).toBe(own);
  expect(await submit(tenants.victim, victimsCase)).toBe(victimsCase);
  expect(replayed).toEqual(["true", null, "true", "true"]);
});

test("a correlation id that two tenants use joins nothing across them", async () => {
  const { cases, audit, victim, attacker } = tenants;
  const correlationId = String(tenants.known["correlation"]);
  const client = await cases.as("caseworker", attacker);
  const headers = { "x-correlation-id": correlationId };
  const answer = await client.createCase(
    { requestId: randomUUID(), caseType: "permit", content },
    { headers },
  );
  await tenants.settled();

  const subjectsOf = async (tenant: string) => {
    const { events } = await (await audit.auditor(tenant)).listEvents({ filter: { correlationId } });
    return [...new Set(events.map(({ event }) => event!.subject))];
  };
  expect(await subjectsOf(attacker)).toEqual([answer.case!.caseId]);
  const victims = await subjectsOf(victim);
  expect(victims.map((id) => id.toUpperCase())).toEqual([tenants.known["assigned in capitals"]]);
});

test("each tenant's log counts its own events alone", async () => {
  const { cases, audit, victim, attacker } = tenants;
  await tenants.settled();
  for (const tenant of [victim, attacker]) {
    const events = await listAllEvents(audit.url, cases.issuer, tenant);
    expect(events.map(({ leafIndex }) => leafIndex)).toEqual(events.map((_, index) => BigInt(index)));
    expect(new Set(events.map(({ event }) => event!.tenantId))).toEqual(new Set([tenant]));
  }
});
