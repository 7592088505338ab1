import { setTimeout as pause } from "node:timers/promises";

import type { Caller } from "#libs/contracts/contract.ts";
import type { Provider } from "#libs/contracts/verify.ts";
import type { CaseServiceFixture } from "#test/support/case-service.ts";
import { listAllEvents, startPair } from "#test/support/pair.ts";
import { openSuperuser } from "#test/support/superuser.ts";

import { createCaseStates } from "./case-states.ts";
import { waitUntilReady } from "./wait-until-ready.ts";

const emitTimeoutMs = 20_000;
const lookEveryMs = 20;

/** The real case service on a real database. What it emits is what its relay delivers to a real audit service. */
export async function startCaseProvider(): Promise<Provider & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const { cases, audit } = opened.use(await startPair());
  await waitUntilReady(cases.metricsUrl);
  const token = ({ subject, ...caller }: Caller, tenant: string) =>
    cases.issuer.token({ ...caller, tenant, sub: subject });
  const running = opened.move();
  return {
    url: cases.url,
    token,
    states: createCaseStates(cases, token),
    async emitted(tenant) {
      await waitUntilDelivered(cases, tenant);
      return (await listAllEvents(audit.url, cases.issuer, tenant)).map(({ eventBytes }) => eventBytes);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function waitUntilDelivered(cases: CaseServiceFixture, tenant: string): Promise<void> {
  await using client = await openSuperuser(cases.database.superuserUrl);
  const until = performance.now() + emitTimeoutMs;
  for (;;) {
    const { rowCount } = await client.query("SELECT FROM outbox WHERE tenant_id = $1", [tenant]);
    if (rowCount === 0) return;
    if (performance.now() > until)
      throw new Error(`${rowCount} events are not delivered after ${emitTimeoutMs} ms`);
    await pause(lookEveryMs);
  }
}
