import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  AuditService,
  DeliveryOutcome,
  type RecordEventsResponse,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { createSessionManager } from "#libs/rpc/session-manager.ts";
import {
  outcomeText,
  startAuditService,
  testSource,
  type AuditServiceFixture,
} from "../support/audit-service.ts";
import { startCuttingProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { makeChain, type TestEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { listAllEvents } from "../support/pair.ts";
import { refusalOf } from "../support/reason-of.ts";

/*
 * Four senders deliver the same events to two replicas of the audit service on one database: shuffled, overlapping, twice,
 * and each loses answers on the way, so that it must send again without knowing.
 */

const { APPLIED, DUPLICATE, OUT_OF_ORDER } = DeliveryOutcome;
const tenantId = "crowded";
const subjects = 12;
const length = 20;
const connectionLost = /^(?:Unavailable|Canceled|Aborted) /;
/** Rounds that a sender needs when every second answer is lost, with a margin. */
const roundsMax = 400;

expectNoLeaks();

interface Sender {
  readonly send: (events: Uint8Array[]) => Promise<RecordEventsResponse>;
  readonly front: CuttingProxy;
}

const stack = new AsyncDisposableStack();
let audit: AuditServiceFixture;
let senders: readonly Sender[];
beforeAll(async () => {
  audit = stack.use(await startAuditService());
  const { issuer, database } = audit;
  const replica = stack.use(await startAuditService({ issuer, database }));
  const token = await issuer.token({
    sub: "test-relay",
    kind: "service",
    roles: ["event_source"],
    sources: [testSource],
  });
  senders = await Promise.all(
    [audit, replica, audit, replica].map(async ({ url }) => {
      const front = stack.use(
        await startCuttingProxy({ host: "127.0.0.1", port: Number(new URL(url).port) }),
      );
      const baseUrl = `http://127.0.0.1:${front.port}`;
      const sessionManager = stack.use(createSessionManager(baseUrl));
      // Nothing compressed, so that the front finds what it looks for.
      const transport = createGrpcTransport({ baseUrl, sessionManager, acceptCompression: [] });
      const client = createClient(AuditService, transport);
      const headers = { authorization: `Bearer ${token}` };
      const send: Sender["send"] = (events) =>
        client.recordEvents({ events }, { headers, timeoutMs: 20_000 });
      return { send, front };
    }),
  );
});
afterAll(() => stack.disposeAsync());

test("each event is stored once and in order, and no sender is told otherwise", async () => {
  const chains = Array.from({ length: subjects }, () => makeChain(length, { tenantId }));
  const all = chains.flat();
  const applied = new Map<string, bigint[]>();
  let lost = 0;
  await Promise.all(
    senders.map(async ({ send, front }, index) => {
      const random = randomFrom(index + 1);
      const open = new Set(all);
      for (let round = 0; round < roundsMax && open.size > 0; round++) {
        const next = chains.flatMap((chain) => chain.filter((event) => open.has(event)).slice(0, 4));
        const twice = all.filter(() => random() < 0.05);
        const batch = shuffle([...next, ...twice], random);
        const cut = random() < 0.5 ? front.strike({ side: "server", has: outcomeText }, "cut") : undefined;
        const sent = send(batch.map(({ bytes }) => bytes));
        expect(await refusalOf(sent)).toMatch(cut ? connectionLost : /^accepted$/);
        if (cut) {
          lost += 1;
          continue;
        }
        const { outcomes } = await sent;
        for (const [at, { outcome, leafIndex, reason }] of outcomes.entries()) {
          expect([APPLIED, DUPLICATE, OUT_OF_ORDER], reason).toContain(outcome);
          const { eventId } = batch[at]!;
          if (outcome !== OUT_OF_ORDER) open.delete(batch[at]!);
          if (outcome === APPLIED) applied.set(eventId, [...(applied.get(eventId) ?? []), leafIndex!]);
        }
      }
      expect(open.size, "still to be delivered").toBe(0);
    }),
  );

  expect(lost).toBeGreaterThan(senders.length);
  const stored = await listAllEvents(audit.url, audit.issuer, tenantId);
  expect(stored.map(({ leafIndex }) => leafIndex)).toEqual(all.map((_, index) => BigInt(index)));
  for (const { event, leafIndex } of stored) {
    const told = applied.get(event!.eventId) ?? [];
    expect([[], [leafIndex]], "applied to one sender at most, at its place").toContainEqual(told);
  }
  for (const chain of chains) {
    const ofSubject = stored.filter(({ event }) => event!.subject === chain[0]!.subject);
    expect(ofSubject.map(({ event }) => event!.eventId)).toEqual(chain.map(({ eventId }) => eventId));
  }
});

/** Numbers from 0 up to 1, the same for the same seed: a linear congruential generator. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function shuffle(events: readonly TestEvent[], random: () => number): TestEvent[] {
  return events
    .map((event) => ({ event, rank: random() }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ event }) => event);
}
