import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { createManualClock } from "#test/support/manual-clock.ts";
import { startScriptedService } from "#test/support/scripted-service.ts";

import { createCaseClient } from "./case-client.ts";
import { createTokens } from "./token-source.ts";

/** A source whose answers the test gives. */
function createSource() {
  const asked: PromiseWithResolvers<{ token: string; validForMs: number }>[] = [];
  return {
    asked,
    give: () => {
      const answer = Promise.withResolvers<{ token: string; validForMs: number }>();
      asked.push(answer);
      return answer.promise;
    },
  };
}

test("however many calls wait for the first token, the source is asked once", async () => {
  const source = createSource();
  const tokens = createTokens(source.give, createManualClock());
  const waiting = Array.from({ length: 50 }, () => tokens.current());
  source.asked[0]?.resolve({ token: "a", validForMs: 60_000 });
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(["a"]));
  expect(source.asked).toHaveLength(1);
});

test("a token is renewed before it expires, once, and nobody waits for that", async () => {
  const clock = createManualClock();
  const source = createSource();
  const tokens = createTokens(source.give, clock);
  const first = tokens.current();
  source.asked[0]?.resolve({ token: "a", validForMs: 300_000 });
  await first;
  await clock.advance(269_999);
  await tokens.current();
  expect(source.asked).toHaveLength(1);
  await clock.advance(1);
  expect(await Promise.all([tokens.current(), tokens.current()])).toEqual(["a", "a"]);
  expect(source.asked).toHaveLength(2);
  source.asked[1]?.resolve({ token: "b", validForMs: 300_000 });
  await clock.advance(0);
  expect(await tokens.current()).toBe("b");
});

test("while its source fails, a token is used as long as it is valid; then calls fail as UNAUTHENTICATED", async () => {
  const clock = createManualClock();
  let asked = 0;
  const tokens = createTokens(async () => {
    if (++asked > 1) throw new Error("the issuer is away");
    return { token: "a", validForMs: 10_000 };
  }, clock);
  await tokens.current();
  await clock.advance(8_000);
  for (let call = 0; call < 10; call++) {
    expect(await tokens.current()).toBe("a");
    await clock.advance(100);
  }
  expect(asked).toBe(2); // The issuer is not asked by every call.
  await clock.advance(1_000);
  await expect(tokens.current()).rejects.toMatchObject({
    code: Code.Unauthenticated,
    cause: { message: "the issuer is away" },
  });
});

test("a token that the service does not accept any more is not shown again", async () => {
  await using server = await startScriptedService(new ConnectError("no", Code.Unauthenticated), "answer");
  let asked = 0;
  const token = () => ({ token: `t${++asked}`, validForMs: 3_600_000 });
  await using cases = createCaseClient({ url: server.url, token });
  await expect(cases.getCase({})).rejects.toHaveProperty("code", Code.Unauthenticated);
  await cases.getCase({});
  await cases.getCase({});
  const shown = server.requests.map(({ header }) => header.get("authorization"));
  expect(shown).toEqual(["Bearer t1", "Bearer t2", "Bearer t2"]);
});

test("a source that never answers costs a call its time and no more, and nothing is sent", async () => {
  await using server = await startScriptedService();
  const limits = { defaultTimeoutMs: 50 };
  await using cases = createCaseClient({ url: server.url, token: () => new Promise(() => {}), limits });
  await expect(cases.getCase({})).rejects.toHaveProperty("code", Code.DeadlineExceeded);
  expect(server.sessions.size).toBe(0);
});

test("a source that hung once is asked again by later calls", async () => {
  const clock = createManualClock();
  let asked = 0;
  const tokens = createTokens(() => (++asked === 1 ? new Promise<string>(() => {}) : "late"), clock);
  await Promise.all([
    expect(tokens.current()).rejects.toHaveProperty("code", Code.Unauthenticated),
    clock.advance(10_000),
  ]);
  expect(await tokens.current()).toBe("late");
});

test("a source that fails is not taken for a connection that does, and is not tried again", async () => {
  await using server = await startScriptedService();
  let asked = 0;
  const token = async () => {
    asked++;
    throw Object.assign(new Error("no file"), { code: "ENOENT" });
  };
  await using cases = createCaseClient({ url: server.url, token });
  await expect(cases.getCase({})).rejects.toHaveProperty("code", Code.Unauthenticated);
  expect(asked).toBe(1);
});
