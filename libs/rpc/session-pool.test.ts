import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";

import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { createManualClock } from "#test/support/manual-clock.ts";
import {
  type ScriptedService,
  startScriptedService,
  startScriptedServiceOn,
} from "#test/support/scripted-service.ts";

import { createSessionPool } from "./session-pool.ts";

const settings = { connectionAgeMs: 60_000, healthIntervalMs: 5_000 };

function open(servers: readonly ScriptedService[]) {
  const clock = createManualClock();
  const told: string[] = [];
  const nameOf = (url: string) => `server ${servers.findIndex((server) => server.url === url)}`;
  const pool = createSessionPool(
    servers.map(({ url }) => url),
    {
      ...settings,
      clock,
      onHealth: (url, healthy) => told.push(`${nameOf(url)} ${healthy ? "healthy" : "unhealthy"}`),
      onRenewal: (url) => told.push(`${nameOf(url)} renewed`),
    },
  );
  const { getCase } = createClient(
    CaseService,
    createGrpcTransport({ baseUrl: pool.authority, sessionManager: pool }),
  );
  return { clock, told, getCase, [Symbol.dispose]: pool.abort };
}

const counts = (servers: readonly ScriptedService[]) => servers.map(({ requests }) => requests.length);

test("each call goes to the address with the fewest calls under way", async () => {
  const gate = Promise.withResolvers<void>();
  await using slow = await startScriptedService(() => gate.promise);
  await using fast = await startScriptedService(() => gate.promise);
  using pool = open([slow, fast]);
  pool.clock.chance = 0.1;
  const calls = [];
  for (let made = 1; made <= 10; made++) {
    calls.push(pool.getCase({}));
    await expect.poll(() => slow.requests.length + fast.requests.length).toBe(made);
  }
  expect(counts([slow, fast])).toEqual([5, 5]);
  gate.resolve();
  await Promise.all(calls);
});

test("among equals chance decides, so that not every client begins with the same address", async () => {
  await using one = await startScriptedService();
  await using two = await startScriptedService();
  using pool = open([one, two]);
  pool.clock.chance = 0.1;
  await pool.getCase({});
  pool.clock.chance = 0.9;
  await pool.getCase({});
  expect(counts([one, two])).toEqual([1, 1]);
});

test("an address that says it does not serve gets no calls, until it says that it does again", async () => {
  await using well = await startScriptedService();
  await using ill = await startScriptedService();
  ill.serving = false;
  using pool = open([well, ill]);
  await pool.getCase({});
  await expect.poll(() => pool.told).toEqual(["server 1 unhealthy"]);
  const before = counts([ill]);
  for (let made = 0; made < 10; made++) await pool.getCase({});
  expect(counts([ill])).toEqual(before);
  ill.serving = true;
  await pool.clock.advance(settings.healthIntervalMs);
  await expect.poll(() => pool.told.at(-1)).toBe("server 1 healthy");
  pool.clock.chance = 0.9;
  await pool.getCase({});
  expect(counts([ill])[0]).toBe(before[0]! + 1);
});

test("a call that cannot reach one address goes to another, and the first is left out until it can be", async () => {
  const away = await startScriptedService();
  await away[Symbol.asyncDispose]();
  await using well = await startScriptedService();
  using pool = open([away, well]);
  pool.clock.chance = 0.1;
  await expect(pool.getCase({})).resolves.toBeDefined();
  for (let made = 0; made < 10; made++) await pool.getCase({});
  await using back = await startScriptedServiceOn(Number(new URL(away.url).port));
  await expect.poll(() => pool.told).toEqual(["server 0 unhealthy"]);
  await expect
    .poll(async () => (await pool.clock.advance(settings.healthIntervalMs), pool.told.length))
    .toBe(2);
  await pool.getCase({});
  expect(counts([back])).toEqual([1]);
});

test("with no address that can be reached a call fails once each was tried", async () => {
  const away = [await startScriptedService(), await startScriptedService()];
  for (const server of away) await server[Symbol.asyncDispose]();
  using pool = open(away);
  await expect(pool.getCase({})).rejects.toMatchObject({ code: Code.Unavailable });
  expect(pool.told.toSorted()).toEqual(["server 0 unhealthy", "server 1 unhealthy"]);
});

test("an address that was away gets calls again as soon as one has reached it, before it is asked after its health again", async () => {
  const [one, two] = [await startScriptedService(), await startScriptedService()];
  const portOf = ({ url }: ScriptedService) => Number(new URL(url).port);
  using pool = open([one, two]);
  await pool.getCase({});
  await one[Symbol.asyncDispose]();
  pool.clock.chance = 0.1;
  await pool.getCase({}).catch(() => {}); // Notices, one way or the other.
  await pool.getCase({});
  await expect.poll(() => pool.told).toContain("server 0 unhealthy");
  await pool.clock.advance(settings.healthIntervalMs);
  await expect.poll(() => pool.clock.timers()).toBe(2); // Both were asked while one was away.
  await using back = await startScriptedServiceOn(portOf(one));
  await two[Symbol.asyncDispose]();
  await expect.poll(() => pool.getCase({}).then(Boolean, () => false)).toBe(true);
  for (let made = 0; made < 10; made++) await pool.getCase({});
  expect(back.requests.length).toBeGreaterThan(10);
  expect(pool.told.filter((what) => what.startsWith("server 0"))).toEqual([
    "server 0 unhealthy",
    "server 0 healthy",
  ]);
});

test("with every address unhealthy all are tried", async () => {
  await using one = await startScriptedService();
  await using two = await startScriptedService();
  one.serving = two.serving = false;
  using pool = open([one, two]);
  await pool.getCase({});
  await expect.poll(() => pool.told).toHaveLength(2);
  await pool.getCase({});
  expect(one.requests.length + two.requests.length).toBe(2);
});

test("an old connection is replaced without harm to the calls on it, and closed after the last of them", async () => {
  const gate = Promise.withResolvers<void>();
  await using server = await startScriptedService(() => gate.promise, "answer");
  using pool = open([server]);
  const underWay = pool.getCase({});
  await server.received(1);
  await pool.clock.advance(settings.connectionAgeMs - 1);
  await pool.getCase({});
  expect(server.sessions.size).toBe(1);
  await pool.clock.advance(1);
  await pool.getCase({});
  expect(server.sessions.size).toBe(2);
  expect(pool.told).toEqual(["server 0 renewed"]);
  gate.resolve();
  await expect(underWay).resolves.toBeDefined();
  await expect.poll(() => server.sessions.size).toBe(1);
});

test("ages differ by a fifth, so that many clients do not renew at one moment", async () => {
  for (const [chance, ageMs] of [
    [0, 54_000],
    [0.5, 60_000],
  ] as const) {
    await using server = await startScriptedService();
    using pool = open([server]);
    pool.clock.chance = chance;
    await pool.getCase({});
    await pool.clock.advance(ageMs - 1);
    await pool.getCase({});
    expect(pool.told).toEqual([]);
    await pool.clock.advance(1);
    await pool.getCase({});
    expect(pool.told).toEqual(["server 0 renewed"]);
  }
});

test("closed, it asks nobody after their health any more", async () => {
  await using one = await startScriptedService();
  await using two = await startScriptedService();
  const pool = open([one, two]);
  await pool.getCase({});
  await expect.poll(() => pool.clock.timers()).toBe(2);
  pool[Symbol.dispose]();
  expect(pool.clock.timers()).toBe(0);
});
