import { createHash, randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { openPool } from "#libs/pg/pool.ts";
import { keptLog } from "./support/kept-output.ts";
import { openLaneLocks } from "#services/case/relay/lane-locks.ts";
import { DeliveryError, type RecordEvents } from "#services/case/relay/deliver.ts";
import { startRelay } from "#services/case/relay/relay.ts";
import { openCase, startCaseService } from "./support/case-service.ts";
import { startPostgresProxy } from "./support/postgres-proxy.ts";
import { openSuperuser } from "./support/superuser.ts";

const waits = { timeout: 15_000 };

/** Tenants whose events are in one lane. */
function tenantsOfOneLane(count: number): string[] {
  const names = Array.from({ length: 5_000 }, (_, index) => `t${String(index).padStart(4, "0")}`);
  return names.filter((name) => createHash("sha256").update(name).digest()[0]! % 64 === 7).slice(0, count);
}

async function startWith(
  databaseUrl: string,
  recordEvents: RecordEvents,
  logged?: Record<string, unknown>[],
): Promise<AsyncDisposable> {
  const destination = { write: (line: string) => void logged?.push(JSON.parse(line)) };
  const log = keptLog("relay-test", logged && destination);
  const opened = new AsyncDisposableStack();
  const pool = opened.use(
    openPool({
      url: databaseUrl,
      max: 4,
      applicationName: "relay-test",
      connectTimeoutMs: 5_000,
      onError: () => {},
    }),
  );
  opened.use(startRelay({ databaseUrl, pool, recordEvents, pollMs: 50, now: () => new Date(), log }));
  return opened;
}

test.each(["unreachable", "failed"] as const)(
  "a tenant whose delivery is %s does not hold up the others of its lane",
  async (kind) => {
    await using cases = await startCaseService({ config: { relay: "off" } });
    const [broken = "", ...sound] = tenantsOfOneLane(4);
    for (const of of [broken, ...sound]) await openCase(cases, "submitted", of);
    const delivered = new Map<string, number>();
    await using _relay = await startWith(cases.database.relayUrl, async (events) => {
      const { tenantId = "" } = events[0] ?? {};
      if (tenantId === broken) throw new DeliveryError(kind, "broken", undefined);
      delivered.set(tenantId, (delivered.get(tenantId) ?? 0) + events.length);
      return events.map(() => ({ kind: "applied" }));
    });
    await expect
      .poll(() => Object.fromEntries(delivered), waits)
      .toEqual(Object.fromEntries(sound.map((name) => [name, 2])));
    await using client = await openSuperuser(cases.database.superuserUrl);
    expect((await client.query("SELECT FROM dead_letters")).rowCount).toBe(0);
  },
);

test("an event on which the service breaks every time becomes a dead letter once others got through between, of whose detail the log hides values", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  const poison = await openCase(cases, "submitted");
  const breakOnPoison: RecordEvents = async (events) => {
    if (events.some(({ caseId }) => caseId === poison))
      throw new DeliveryError("failed", `breaks\0 on 'a "plan" of theirs'`, undefined);
    return events.map(() => ({ kind: "applied" }));
  };
  const logged: Record<string, unknown>[] = [];
  await using _relay = await startWith(cases.database.relayUrl, breakOnPoison, logged);
  await using client = await openSuperuser(cases.database.superuserUrl);
  const dead = async () => {
    await openCase(cases, "draft"); // Traffic: proof that the service itself is well.
    return (await client.query("SELECT case_id, version, reason, detail FROM dead_letters")).rows;
  };
  await expect
    .poll(dead, waits)
    .toEqual([
      { case_id: poison, version: 1, reason: "DELIVERY_FAILED", detail: `breaks on 'a "plan" of theirs'` },
    ]);
  const told = () => logged.find(({ msg }) => msg === "event became a dead letter");
  await expect.poll(told, waits).toMatchObject({ caseId: poison, detail: 'breaks\0 on "…"' });
  expect(JSON.stringify(logged)).not.toContain("plan");
});

test("a slow lane does not hold up another one", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  const [slow = ""] = tenantsOfOneLane(1);
  await openCase(cases, "draft", slow);
  const release = Promise.withResolvers<void>();
  const delivered: string[] = [];
  await using _relay = await startWith(cases.database.relayUrl, async (events) => {
    const { tenantId = "" } = events[0] ?? {};
    if (tenantId === slow) await release.promise;
    delivered.push(tenantId);
    return events.map(() => ({ kind: "applied" }));
  });
  await openCase(cases, "draft", "acme");
  await expect.poll(() => delivered, waits).toEqual(["acme"]);
  release.resolve();
  await expect.poll(() => delivered, waits).toEqual(["acme", slow]);
});

test("a lock session behind a pooler is refused with a sentence that names the setting, and leaves no connection", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  // A pooler makes up the process id that the client is told: so does this proxy, by asking another process's.
  await using proxy = await startPostgresProxy(cases.database.relayUrl);
  proxy.rewrite("SELECT pg_backend_pid() AS pid", "SELECT pg_backend_pid()+01 pid");
  const opening = openLaneLocks({
    url: proxy.unixUrl,
    connectTimeoutMs: 5_000,
    onNotified: () => {},
    onLost: () => {},
  });
  await expect(opening).rejects.toThrow(/CASE_RELAY_DATABASE_URL leads to a pooler/);
  await expect.poll(() => proxy.openConnections("caseflow-relay-locks"), waits).toBe(0);
});

test("the owner's lock session ended from outside, the relay takes its lanes again by itself", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  let delivered = 0;
  await using _relay = await startWith(cases.database.relayUrl, async (events) => {
    delivered += events.length;
    return events.map(() => ({ kind: "applied" }));
  });
  await openCase(cases, "draft");
  await expect.poll(() => delivered, waits).toBe(1);
  await using client = await openSuperuser(cases.database.superuserUrl);
  await client.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'caseflow-relay-locks' AND datname = current_database()",
  );
  await openCase(cases, "draft", `t-${randomUUID()}`);
  await expect.poll(() => delivered, waits).toBe(2);
});
