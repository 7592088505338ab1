import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createIssuer, type Issuer } from "#test/support/tokens.ts";

import { listenForOperations } from "./operations-server.ts";
import { createOperatorPages, type OperatorAccess } from "./operator-pages.ts";
import { within } from "./serve-for-test.ts";
import { createTokenVerifier } from "./verify-token.ts";

let issuer: Issuer;
beforeAll(async () => {
  issuer = await createIssuer();
});
afterAll(() => issuer[Symbol.asyncDispose]());

const tokenOf = (tenant: string, role: string, expiresInSeconds = 60) =>
  issuer.token({ tenant, sub: `${role} of ${tenant}`.replaceAll(" ", "-"), roles: [role], expiresInSeconds });

const debugging = { debugTenant: "home" };

/** A server with these pages, for operators of `home` where debugging is on. */
async function serve({ debugTenant, jwks }: { debugTenant?: string | undefined; jwks?: string } = {}) {
  const accesses: OperatorAccess[] = [];
  const failures: string[] = [];
  const taking = Promise.withResolvers<void>();
  const server = await listenForOperations({
    host: "127.0.0.1",
    port: 0,
    version: "1",
    commit: "abc",
    isStarted: () => true,
    isReady: () => true,
    metrics: async () => undefined,
    operatorPages: createOperatorPages({
      verifier: createTokenVerifier({
        jwks: jwks ?? issuer.jwks,
        issuer: issuer.issuer,
        audience: issuer.audience,
        clockToleranceSeconds: 0,
      }),
      role: "operator",
      settings: [{ name: "PORT", value: 1 }],
      debugTenant,
      onAccess: (access) => {
        accesses.push(access);
        if (access.status === 200) taking.resolve();
      },
      onAuthFailure: (why) => failures.push(why),
    }),
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const ask = (method: string, path: string, token?: string, signal?: AbortSignal) =>
    fetch(`${server.url}${path}`, {
      method,
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
      ...(signal && { signal }),
    });
  return { server, ask, accesses, failures, taking: taking.promise };
}

test("an operator of any tenant is shown the settings", async () => {
  const { ask, accesses } = await serve(debugging);
  const answer = await ask("GET", "/settings", await tokenOf("other", "operator"));
  expect([answer.status, answer.headers.get("cache-control"), await answer.json()]).toEqual([
    200,
    "no-store",
    [{ name: "PORT", value: 1 }],
  ]);
  expect(accesses).toEqual([
    { page: "/settings", status: 200, tenant: "other", principal: "operator-of-other" },
  ]);
});

const pages = [
  ["GET", "/settings"],
  ["POST", "/debug/profile"],
  ["POST", "/debug/heap"],
] as const;

test.each(pages)("%s %s is refused to whoever is no operator, and counted and told", async (method, path) => {
  const { ask, accesses, failures } = await serve(debugging);
  const none = await ask(method, path);
  const statuses = [
    none.status,
    (await ask(method, path, "hunter2")).status,
    (await ask(method, path, await tokenOf("home", "operator", -60))).status,
    (await ask(method, path, await tokenOf("home", "supervisor"))).status,
  ];
  expect(statuses).toEqual([401, 401, 401, 403]);
  expect(none.headers.get("www-authenticate")).toBe("Bearer");
  expect(failures).toEqual(["missing", "malformed", "expired", "forbidden"]);
  expect(accesses.map(({ status }) => status)).toEqual(statuses);
});

test("while the keys are away nobody is told apart", async () => {
  const { ask } = await serve({ jwks: "/nowhere/jwks.json" });
  expect((await ask("GET", "/settings", await tokenOf("home", "operator"))).status).toBe(503);
});

test.each(pages.slice(1))("%s %s is refused to operators of other tenants", async (method, path) => {
  const { ask, accesses } = await serve(debugging);
  expect((await ask(method, path, await tokenOf("other", "operator"))).status).toBe(403);
  expect(accesses).toEqual([{ page: path, status: 403, tenant: "other", principal: "operator-of-other" }]);
});

test.each(pages.slice(1))("%s %s is not there where debugging is off", async (method, path) => {
  const { ask, accesses } = await serve();
  expect((await ask(method, path, await tokenOf("home", "operator"))).status).toBe(404);
  expect(accesses).toEqual([]);
});

test.each([
  ["POST", "/settings", 405],
  ["GET", "/debug/heap", 405],
  ["GET", "/debug/profile?seconds=1", 405],
  ["POST", "/debug/profile?seconds=61", 400],
  ["POST", "/debug/profile?seconds=0", 400],
  ["POST", "/debug/profile?seconds=-1", 400],
  ["POST", "/debug/profile?seconds=soon", 400],
  ["POST", "/debug", 404],
  ["GET", "/settings/", 404],
])("%s %s is answered with %i", async (method, path, status) => {
  const { ask } = await serve(debugging);
  expect((await ask(method, path, await tokenOf("home", "operator"))).status).toBe(status);
});

test("a profile tells where time was spent", async () => {
  const { ask } = await serve(debugging);
  const answer = await ask("POST", "/debug/profile?seconds=0.2", await tokenOf("home", "operator"));
  expect(answer.headers.get("content-disposition")).toMatch(/^attachment; filename="\d+\.cpuprofile"$/);
  const profile: { nodes: unknown[]; samples: unknown[]; startTime: number; endTime: number } =
    (await answer.json()) as never; // As the inspector's protocol has it.
  expect(profile.nodes.length).toBeGreaterThan(0);
  expect(profile.samples.length).toBeGreaterThan(0);
  expect(profile.endTime - profile.startTime).toBeGreaterThan(150_000);
});

test("one is taken at a time, and one whose caller has gone is over", async () => {
  const { ask, taking } = await serve(debugging);
  const token = await tokenOf("home", "operator");
  const leave = new AbortController();
  const first = ask("POST", "/debug/profile?seconds=60", token, leave.signal).catch(() => "gone");
  await within(taking, "the first profile");
  const others = await Promise.all([
    ask("POST", "/debug/profile?seconds=0.1", token),
    ask("POST", "/debug/heap", token),
    ask("GET", "/settings", token),
  ]);
  expect(others.map(({ status }) => status)).toEqual([409, 409, 200]);
  leave.abort();
  expect(await first).toBe("gone");
  await expect.poll(async () => (await ask("POST", "/debug/profile?seconds=0.1", token)).status).toBe(200);
});

test("a server that ends ends the profile that is being taken", async () => {
  const { server, ask, taking } = await serve(debugging);
  const cut = ask("POST", "/debug/profile?seconds=60", await tokenOf("home", "operator")).catch(() => "cut");
  await within(taking, "the profile");
  await within(server[Symbol.asyncDispose](), "the end");
  expect(await within(cut, "the end of the profile")).toBe("cut");
});
