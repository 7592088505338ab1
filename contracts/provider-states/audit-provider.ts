import type { Caller } from "#libs/contracts/contract.ts";
import type { Provider, StateSetup } from "#libs/contracts/verify.ts";
import { type AuditServiceFixture, startAuditService } from "#test/support/audit-service.ts";
import { type EventChanges, makeChain, makeEvent, type TestEvent } from "#test/support/events.ts";

import { waitUntilReady } from "./wait-until-ready.ts";

const largestEventBytes = 60 * 1024;

/** The real audit service on a real database. It emits nothing of its own. */
export async function startAuditProvider(): Promise<Provider & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const audit = opened.use(await startAuditService());
  await waitUntilReady(audit.metricsUrl);
  const running = opened.move();
  return {
    url: audit.url,
    /** Who delivers events speaks for sources and for no tenant. */
    token: ({ subject, ...caller }: Caller, tenant) =>
      audit.issuer.token({ ...caller, sub: subject, ...(caller.sources === undefined && { tenant }) }),
    states: createAuditStates(audit),
    emitted: async () => [],
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The states of the audit service that contracts may name: what its log holds, and the `event` that is going to be sent. */
function createAuditStates(audit: AuditServiceFixture): { readonly [name: string]: StateSetup } {
  const source = "caseflow/case";
  const store = async (...events: readonly TestEvent[]): Promise<void> => {
    const client = await audit.source([source]);
    await client.recordEvents({ events: events.map(({ bytes }) => bytes) });
  };
  const give = ({ bytes, eventId }: Pick<TestEvent, "bytes" | "eventId">) => ({
    event: Buffer.from(bytes).toString("base64"),
    eventId,
  });
  const make = (tenant: string, changes: EventChanges = {}): TestEvent =>
    makeEvent({ tenantId: tenant, source, ...changes });
  return {
    "an event that comes next": async ({ tenant }) => give(make(tenant)),
    "an event that is there already": async ({ tenant }) => {
      const event = make(tenant);
      await store(event);
      return give(event);
    },
    "an event that comes too early": async ({ tenant }) => {
      const [, second] = makeChain(2, { tenantId: tenant, source });
      return give(second!); // A chain of two has a second.
    },
    "an event whose sequence is taken": async ({ tenant }) => {
      const stored = make(tenant);
      await store(stored);
      return give(make(tenant, { subject: stored.subject }));
    },
    "an event whose id is taken": async ({ tenant }) => {
      const stored = make(tenant);
      await store(stored);
      return give(make(tenant, { eventId: stored.eventId }));
    },
    "bytes that are no event": async () => give({ bytes: Buffer.from("no event"), eventId: "" }),
    "an event that is too large": async () =>
      give({ bytes: Buffer.alloc(largestEventBytes + 1, 1), eventId: "" }),
    /** Gives `first`, `firstId`, `second`, `secondId`. */
    "two events, the first of which is there already": async ({ tenant }) => {
      const first = make(tenant);
      const second = make(tenant);
      await store(first);
      return {
        first: give(first).event,
        firstId: first.eventId,
        second: give(second).event,
        secondId: second.eventId,
      };
    },
  };
}
