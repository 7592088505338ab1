import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startKeyServer, type KeyServer } from "../support/attack-key-server.ts";
import { createKey, tokenBy, type AttackKey } from "../support/attack-keys.ts";
import {
  goodClaims,
  startTokenTarget,
  type TokenDatabases,
  type TokenTarget,
} from "../support/attack-token.ts";
import { cloneAuditDatabase, cloneCaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

/*
 * Keys that come, go and cannot be had. The wall clock is the test's: the services run in this process, and believe it.
 */

const unauthenticated = "unauthenticated UNAUTHENTICATED";
const unavailable = "unavailable DEPENDENCY_DOWN";
/** How long a look for keys waits before the next, as a key set at a URL has it; and how long keys stay unquestioned. */
const cooldownMs = 30_000;
const freshMs = 300_000;

const databases = new AsyncDisposableStack();
let shared: TokenDatabases;
beforeAll(async () => {
  shared = {
    cases: databases.use(await cloneCaseDatabase()),
    audit: databases.use(await cloneAuditDatabase()),
  };
});
afterAll(() => databases.disposeAsync());

let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
});
afterEach(async () => {
  vi.useRealTimers();
  await stack.disposeAsync();
});

async function start(keys: readonly AttackKey[]): Promise<{ server: KeyServer; target: TokenTarget }> {
  const server = stack.use(await startKeyServer(keys));
  return { server, target: stack.use(await startTokenTarget(server.url, shared)) };
}

function pass(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

/** Another token each time, that is good for a day. */
function tokenOf(key: AttackKey): string {
  return tokenBy(key, { ...goodClaims(), exp: Math.floor(Date.now() / 1_000) + 86_400 });
}

async function outcomeOf(target: TokenTarget, token: string): Promise<string> {
  return (await target.create(token)).outcome;
}

test("a key that is added is accepted without a restart, once it may be looked for", async () => {
  const [old, fresh] = [createKey(), createKey("ES256")];
  const { server, target } = await start([old]);
  expect(await outcomeOf(target, tokenOf(old))).toBe("ok");
  server.publish([old, fresh]);
  const asked = server.asked();
  expect(await outcomeOf(target, tokenOf(fresh))).toBe(unauthenticated);
  expect(server.asked(), "within the pause nobody asks").toBe(asked);
  pass(cooldownMs);
  expect(await outcomeOf(target, tokenOf(fresh))).toBe("ok");
  expect(await outcomeOf(target, tokenOf(old))).toBe("ok");
  expect(server.asked()).toBe(asked + 1);
});

test("a key that is removed takes its tokens with it, also those that were accepted before", async () => {
  const [old, fresh] = [createKey(), createKey()];
  const { server, target } = await start([old, fresh]);
  const remembered = tokenOf(old);
  expect(await outcomeOf(target, remembered)).toBe("ok");
  server.publish([fresh]);
  pass(freshMs);
  // The first call after that time only causes the look.
  await expect.poll(() => outcomeOf(target, remembered)).toBe(unauthenticated);
  const before = await target.stored();
  expect(await outcomeOf(target, remembered)).toBe(unauthenticated);
  expect(await outcomeOf(target, tokenOf(old))).toBe(unauthenticated);
  expect(await target.stored()).toEqual(before);
  expect(await outcomeOf(target, tokenOf(fresh))).toBe("ok");
});

test("a key that was removed in a quiet time is not even accepted once", async () => {
  const [old, fresh] = [createKey(), createKey()];
  const { server, target } = await start([old, fresh]);
  const remembered = tokenOf(old);
  expect(await outcomeOf(target, remembered)).toBe("ok");
  server.publish([fresh]);
  pass(2 * freshMs);
  const before = await target.stored();
  expect(await outcomeOf(target, remembered)).toBe(unauthenticated);
  expect(await target.stored()).toEqual(before);
});

test("a token that was accepted is refused from its end on", async () => {
  const key = createKey();
  const { target } = await start([key]);
  const token = tokenBy(key, { ...goodClaims(), exp: Math.floor(Date.now() / 1_000) + 60 });
  expect(await outcomeOf(target, token)).toBe("ok");
  pass(66_000);
  expect(await outcomeOf(target, token)).toBe(unauthenticated);
});

test.each([
  ["is gone", (server: KeyServer) => server.stop()],
  ["answers with errors", async (server: KeyServer) => server.answer("with 500")],
])("while the key server %s known keys go on, and unknown ones are refused at once", async (_, breakDown) => {
  const [known, stranger] = [createKey(), createKey()];
  const { server, target } = await start([known]);
  const remembered = tokenOf(known);
  expect(await outcomeOf(target, remembered)).toBe("ok");
  await breakDown(server);
  const asked = server.asked();
  for (let hour = 0; hour < 3; hour++) {
    pass(3_600_000);
    expect(await outcomeOf(target, remembered)).toBe("ok");
    expect(await outcomeOf(target, tokenOf(known))).toBe("ok");
    const strangers = Array.from({ length: 20 }, () => outcomeOf(target, tokenOf(stranger)));
    expect(new Set(await Promise.all(strangers))).toEqual(new Set([unauthenticated]));
  }
  // One look an hour, for sixty strangers.
  expect(server.asked() - asked).toBeLessThanOrEqual(3);
});

test("while the key server hangs known keys do not wait, strangers wait for one look together", async () => {
  const [known, stranger] = [createKey(), createKey()];
  const { server, target } = await start([known]);
  expect(await outcomeOf(target, tokenOf(known))).toBe("ok");
  const asked = server.asked();
  server.answer("never");
  pass(freshMs);
  let refusals = 0;
  const strangers = Array.from({ length: 5 }, async () => {
    const outcome = await outcomeOf(target, tokenOf(stranger));
    refusals += 1;
    return outcome;
  });
  for (let call = 0; call < 5; call++) expect(await outcomeOf(target, tokenOf(known))).toBe("ok");
  expect(refusals, "strangers still wait").toBe(0);
  expect(server.asked() - asked).toBe(1);
  // A look is given up in less time than a call has.
  expect(new Set(await Promise.all(strangers))).toEqual(new Set([unauthenticated]));
});

test("without a key server at the start a call is told that it is not its fault, and when to come back", async () => {
  const key = createKey();
  const server = stack.use(await startKeyServer([key]));
  await server.stop();
  const target = stack.use(await startTokenTarget(server.url, shared));
  const before = await target.stored();
  const { created, recorded } = await target.write(`Bearer ${tokenOf(key)}`);
  for (const { outcome, error } of [created, recorded]) {
    expect(outcome).toBe(unavailable);
    expect(error?.message).toBe("tokens cannot be verified right now");
  }
  expect(await target.stored()).toEqual(before);
  await server.restart();
  pass(1_000);
  expect(await outcomeOf(target, tokenOf(key))).toBe("ok");
});

test("a set that is no set, is empty, or is huge leaves the known keys in force", async () => {
  const key = createKey();
  const { server, target } = await start([key]);
  expect(await outcomeOf(target, tokenOf(key))).toBe("ok");
  for (const body of [
    "",
    "null",
    "{",
    `{"keys":null}`,
    `{"keys":[null,7]}`,
    `{"keys":[],"note":"${"x".repeat(300_000)}"}`,
  ]) {
    server.publishText(body);
    pass(freshMs);
    const asked = server.asked();
    expect(await outcomeOf(target, tokenOf(key)), body.slice(0, 20)).toBe("ok");
    await expect.poll(() => server.asked()).toBeGreaterThan(asked);
  }
  expect(await outcomeOf(target, tokenOf(key))).toBe("ok");
});
