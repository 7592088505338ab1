import { expect, test } from "vitest";
import { keptLog } from "../support/kept-output.ts";
import { openRelay } from "#services/case/rpc/open-relay.ts";
import { outcomeText, startAuditService, type AuditServiceFixture } from "../support/audit-service.ts";
import {
  openCase,
  startCaseService,
  writeRelayToken,
  type CaseServiceFixture,
} from "../support/case-service.ts";
import { startCuttingProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { listAllEvents } from "../support/pair.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/* Two relays on one tenant's events: one has the lane, the other waits for it. */

const log = keptLog("relay-test");
/** Within this time a second relay has the lane, whatever became of its owner. */
const takeOverMs = 30_000;
/** Before this the owner's own delivery does not time out. */
const deliveryTimeoutMs = 10_000;
const perCase = 6;

expectNoLeaks();

interface Stage extends AsyncDisposable {
  readonly issuer: Issuer;
  readonly audit: AuditServiceFixture;
  /** The case service, without a relay. */
  readonly cases: CaseServiceFixture;
  /** In front of the audit service, for one relay alone. */
  readonly front: CuttingProxy;
  /** A relay that delivers to `auditUrl`. */
  relayTo(auditUrl: string): Promise<AsyncDisposable>;
}

async function setStage(): Promise<Stage> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const audit = opened.use(await startAuditService({ issuer }));
  const front = opened.use(
    await startCuttingProxy({ host: "127.0.0.1", port: Number(new URL(audit.url).port) }),
  );
  const cases = opened.use(await startCaseService({ issuer, config: { relay: "off" } }));
  const auditTokenFile = await writeRelayToken(issuer);
  const running = opened.move();
  return {
    issuer,
    audit,
    cases,
    front,
    relayTo: async (auditUrl) =>
      openRelay(
        {
          relayDatabaseUrl: cases.database.relayUrl,
          auditUrl,
          auditTokenFile,
          relayPollMs: 100,
          logLevel: "silent",
        },
        log,
        () => new Date(),
      ),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Ends the sessions that hold lane locks; returns how many there were. */
async function endLockSessions({ cases }: Stage): Promise<number> {
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await superuser.query<{ ended: boolean }>(
    `SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
      WHERE datname = current_database() AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')`,
  );
  return rows.filter(({ ended }) => ended).length;
}

/** Waits until so many events are in the log, and nothing is left to deliver; then checks that each is there once, in order. */
async function expectDelivered({ audit, cases, issuer }: Stage, caseCount: number): Promise<void> {
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const left = async () =>
    (await superuser.query("SELECT event_id FROM outbox UNION ALL SELECT event_id FROM dead_letters"))
      .rowCount;
  await expect.poll(left, { timeout: takeOverMs, interval: 20, message: "undelivered" }).toBe(0);
  const events = await listAllEvents(audit.url, issuer);
  expect(events).toHaveLength(caseCount * perCase);
  expect(events.map(({ leafIndex }) => leafIndex)).toEqual(events.map((_, index) => BigInt(index)));
  for (const [, ofCase] of Map.groupBy(events, ({ event }) => event!.subject)) {
    expect(ofCase.map(({ event }) => event!.subjectSequence)).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
  }
}

test("when the owner's lock session is ended in the middle of a batch, a second relay delivers, and nothing twice", async () => {
  await using stage = await setStage();
  const { audit, cases, front } = stage;
  const batch = front.strike({ side: "client", has: "caseflow.case.created" }, "hold");
  await using _owner = await stage.relayTo(`http://127.0.0.1:${front.port}`);
  await Promise.all(Array.from({ length: 5 }, () => openCase(cases, "closed")));
  await batch.struck;
  await using _second = await stage.relayTo(audit.url);

  const endedAt = performance.now();
  expect(await endLockSessions(stage)).toBe(1);
  await expectDelivered(stage, 5);
  expect(performance.now() - endedAt, "without waiting for the owner").toBeLessThan(deliveryTimeoutMs);

  batch.release(); // The owner's batch arrives after all: every event of it is known.
  await openCase(cases, "closed");
  await expectDelivered(stage, 6);
});

test(
  "when the owner's deliveries hang, a second relay gets the lane within 30 s",
  { timeout: 60_000 },
  async () => {
    await using stage = await setStage();
    const { audit, cases, front } = stage;
    const batch = front.strike({ side: "client", has: "caseflow.case.created" }, "hold");
    await using _owner = await stage.relayTo(`http://127.0.0.1:${front.port}`);
    await openCase(cases, "closed");
    await batch.struck;
    front.refusing = true; // Whatever else the owner tries.
    const hungAt = performance.now();
    await using _second = await stage.relayTo(audit.url);
    await expectDelivered(stage, 1);
    expect(performance.now() - hungAt).toBeLessThan(takeOverMs);
  },
);

test("while lock sessions are ended again and again, three relays lose nothing and double nothing", async () => {
  await using stage = await setStage();
  const { audit, cases } = stage;
  await using _first = await stage.relayTo(audit.url);
  await using _second = await stage.relayTo(audit.url);
  await using _third = await stage.relayTo(audit.url);
  const written = new AbortController();
  let ended = 0;
  const ending = (async () => {
    while (!written.signal.aborted) ended += await endLockSessions(stage);
  })();
  for (let round = 0; round < 4; round++) {
    await Promise.all(Array.from({ length: 5 }, () => openCase(cases, "closed")));
  }
  written.abort();
  await ending;
  expect(ended).toBeGreaterThan(0);
  await expectDelivered(stage, 20);
});

test("an answer that never reaches the owner is no loss: the batch is sent again and known", async () => {
  await using stage = await setStage();
  const { cases, front } = stage;
  const cut = front.strike({ side: "server", has: outcomeText }, "cut");
  await using _owner = await stage.relayTo(`http://127.0.0.1:${front.port}`);
  await openCase(cases, "closed");
  await cut.struck;
  await expectDelivered(stage, 1);
});
