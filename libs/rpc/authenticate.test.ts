import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";

import type { MethodAuthz } from "./authenticate.ts";
import { principalKey, type Principal } from "./principal.ts";
import { connectForTest, protocols, readMaxBytes, serveForTest } from "./serve-for-test.ts";
import { TokenError } from "./verify-token.ts";

const ada: Principal = {
  id: "ada",
  kind: "person",
  tenantId: "harbour-city",
  roles: ["caseworker"],
  onBehalfOf: undefined,
  sources: [],
  expiresAt: new Date(0),
};

/** What a bearer token stands for here; a token outside of these does not verify. */
const principals: Record<string, Principal> = {
  ada,
  "ada.supervisor": { ...ada, roles: ["supervisor", "caseworker"] },
  nobody: { ...ada, roles: [] },
  homeless: { ...ada, tenantId: undefined },
};

const needsSupervisor = { roles: ["supervisor", "operator"], tenantFromMessage: false };
const needsAnybody = { roles: [], tenantFromMessage: false };
const needsNoTenant = { roles: ["caseworker"], tenantFromMessage: true };

test.each<[string, string | undefined, MethodAuthz | undefined, string]>([
  ["one of the roles", "Bearer ada.supervisor", needsSupervisor, "ok"],
  ["a role, with the scheme in capitals", "BEARER ada.supervisor", needsSupervisor, "ok"],
  ["another role", "Bearer ada", needsSupervisor, "FORBIDDEN"],
  ["no role where any principal will do", "Bearer nobody", needsAnybody, "ok"],
  ["a role for a method without a rule", "Bearer ada.supervisor", undefined, "FORBIDDEN"],
  ["no tenant", "Bearer homeless", needsAnybody, "FORBIDDEN"],
  ["no tenant where the message names it", "Bearer homeless", needsNoTenant, "ok"],
  ["a tenant where the message names it", "Bearer ada", needsNoTenant, "ok"],
  ["no token", undefined, needsAnybody, "UNAUTHENTICATED missing"],
  ["no token for a method without a rule", undefined, undefined, "UNAUTHENTICATED missing"],
  ["an empty token", "Bearer ", needsAnybody, "UNAUTHENTICATED missing"],
  ["another scheme", "Basic YTpi", needsAnybody, "UNAUTHENTICATED missing"],
  ["two tokens", "Bearer ada, Bearer ada", needsAnybody, "UNAUTHENTICATED missing"],
  ["a token with rubbish", 'Bearer ada"', needsAnybody, "UNAUTHENTICATED missing"],
  ["a token that does not verify", "Bearer forged", needsAnybody, "UNAUTHENTICATED signature"],
  ["a token while there are no keys", "Bearer early", needsAnybody, "DEPENDENCY_DOWN"],
])("a caller with %s gets what it may", async (_, authorization, rule, expected) => {
  const seen: (Principal | undefined)[] = [];
  await using server = await serveGuarded(() => rule, seen);
  for (const protocol of protocols) {
    using client = connectForTest(server.url, protocol);
    const headers = authorization === undefined ? {} : { headers: { authorization } };
    expect(await outcomeOf(client.health.check({}, headers))).toBe(expected);
    expect(await outcomeOf(all(client.health.watch({}, headers)))).toBe(expected);
  }
  await server.line(2 * protocols.length);
  const code = server.lines.map((line) => line.reason ?? line.code);
  expect(new Set(code)).toEqual(new Set([expected.split(" ")[0]]));
  expect(seen).toHaveLength(expected === "ok" ? 2 * protocols.length : 0);
  for (const principal of seen) expect(principal).toBe(principals[authorization?.split(" ")[1] ?? ""]);
});

test("a call that was refused is logged with who made it, as far as that is known", async () => {
  await using server = await serveGuarded(() => needsSupervisor, []);
  using client = connectForTest(server.url);
  for (const token of ["ada", "forged"]) {
    await outcomeOf(client.health.check({}, { headers: { authorization: `Bearer ${token}` } }));
  }
  expect(await server.line(1)).toMatchObject({
    principal: "ada",
    tenant: "harbour-city",
    reason: "FORBIDDEN",
  });
  expect(await server.line(2)).toMatchObject({ principal: undefined, reason: "UNAUTHENTICATED" });
});

test("a stranger is refused before the message is read", async () => {
  await using server = await serveGuarded(() => needsAnybody, []);
  for (const protocol of protocols) {
    using client = connectForTest(server.url, protocol);
    const service = "x".repeat(2 * readMaxBytes); // Read, it would be too large.
    expect(await outcomeOf(client.health.check({ service }))).toBe("UNAUTHENTICATED missing");
  }
});

test("an open service needs no token and has no principal", async () => {
  const seen: (Principal | undefined)[] = [];
  await using server = await serveGuarded(() => undefined, seen, true);
  using client = connectForTest(server.url);
  expect(await outcomeOf(client.health.check({}, { headers: { authorization: "Bearer ada" } }))).toBe("ok");
  expect(seen).toEqual([undefined]);
});

test("a verifier that fails is our fault, and the caller learns nothing of it", async () => {
  await using server = await serveGuarded(() => needsAnybody, []);
  using client = connectForTest(server.url);
  const call = client.health.check({}, { headers: { authorization: "Bearer boom" } });
  await expect(call).rejects.toMatchObject({ code: Code.Internal, rawMessage: "internal error" });
  expect(server.unexpected).toHaveLength(1);
});

test("a call is answered at its deadline, also while its token is being verified", async () => {
  const endless = (): Promise<Principal> => new Promise(() => {});
  await using server = await serveGuarded(() => needsAnybody, [], false, endless);
  // A caller that leaves it to the service to keep the time.
  const answer = await fetch(`${server.url}/grpc.health.v1.Health/Check`, {
    method: "POST",
    headers: {
      authorization: "Bearer endless",
      "connect-timeout-ms": "20",
      "content-type": "application/json",
    },
    body: "{}",
    signal: AbortSignal.timeout(10_000),
  });
  expect(await answer.json()).toMatchObject({ code: "deadline_exceeded" });
});

function serveGuarded(
  authz: () => MethodAuthz | undefined,
  seen: (Principal | undefined)[],
  open = false,
  verifyToken = verify,
) {
  return serveForTest({
    routes: (router) =>
      router.service(Health, {
        check(_, { values }) {
          seen.push(values.get(principalKey));
          return {};
        },
        async *watch(_, { values }) {
          seen.push(values.get(principalKey));
          yield {};
        },
      }),
    guard: { verifier: { verify: verifyToken }, authz, open: () => open },
  });
}

async function verify(token: string): Promise<Principal> {
  const principal = principals[token];
  if (principal !== undefined) return principal;
  if (token === "boom") throw new TypeError("secret");
  throw new TokenError(token === "early" ? "keys_unavailable" : "signature");
}

async function outcomeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (thrown) {
    const [info] = ConnectError.from(thrown).findDetails(ErrorInfoSchema);
    return [info?.reason, info?.metadata["why"]].filter(Boolean).join(" ");
  }
}

async function all(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}
