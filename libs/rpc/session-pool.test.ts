import { Code, ConnectError, createClient } from "@connectrpc/connect";
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

test("an address that cannot be reached is left out after one failure, and back once it can be", async () => {
  const away = await startScriptedService();
  await away[Symbol.asyncDispose]();
  await using well = await startScriptedService();
  using pool = open([away, well]);
  pool.clock.chance = 0.1;
  const codeOf = (error: unknown) => ConnectError.from(error).code;
  await expect(pool.getCase({}).catch(codeOf)).resolves.toBe(Code.Unavailable);
  for (let made = 0; made < 10; made++) await pool.getCase({});
  await using back = await startScriptedServiceOn(Number(new URL(away.url).port));
  await expect.poll(() => pool.told).toEqual(["server 0 unhealthy"]);
  await expect
    .poll(async () => (await pool.clock.advance(settings.healthIntervalMs), pool.told.length))
    .toBe(2);
  await pool.getCase({});
  expect(counts([back])).toEqual([1]);
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
