import { afterAll, beforeAll, expect, test } from "vitest";
import { startKeyServer } from "../support/attack-key-server.ts";
import { createKey, tokenBy } from "../support/attack-keys.ts";
import {
  expectUnauthenticated,
  goodClaims,
  startTokenTarget,
  type TokenTarget,
} from "../support/attack-token.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

/* Well signed tokens that say who may do what in other words than ours. */

const key = createKey();
const stack = new AsyncDisposableStack();
let target: TokenTarget;
beforeAll(async () => {
  target = stack.use(await startTokenTarget(stack.use(await startKeyServer([key])).url));
});
afterAll(() => stack.disposeAsync());

test.each<[string, Record<string, unknown> | string]>([
  ["no roles", {}],
  ["roles in `role`", { role: "caseworker" }],
  ["roles in `scope`", { scope: "caseworker event_source", scp: ["caseworker", "event_source"] }],
  ["roles in `realm_access`", { realm_access: { roles: ["caseworker", "event_source"] } }],
  [
    "roles in `resource_access`",
    { resource_access: { caseflow: { roles: ["caseworker", "event_source"] } } },
  ],
  ["roles in `groups` and `permissions`", { groups: ["caseworker"], permissions: ["caseworker"] }],
  ["roles in `Roles`", { Roles: ["caseworker", "event_source"], ROLES: ["caseworker"] }],
  [
    "roles of whoever it acts for",
    { kind: "service", act: { sub: "boss", roles: ["caseworker", "event_source"] } },
  ],
  ["roles in a prototype", `"__proto__":{"roles":["caseworker","event_source"]}`],
  ["roles twice, none the second time", `"roles":["caseworker","event_source"],"roles":[]`],
])("a token with %s may not write", async (_, claims) => {
  const { roles: _roles, ...others } = goodClaims();
  const text = JSON.stringify(others).slice(0, -1);
  const payload = typeof claims === "string" ? `${text},${claims}}` : { ...others, ...claims };
  const before = await target.stored();
  const { created, recorded } = await target.write(`Bearer ${tokenBy(key, payload)}`);
  expect([created.outcome, recorded.outcome]).toEqual([
    "permission_denied FORBIDDEN",
    "permission_denied FORBIDDEN",
  ]);
  expect(await target.stored()).toEqual(before);
});

test("a tenant in any claim but tenant_id is none", async () => {
  const elsewhere = { tenant_id: undefined, tenant: "acme", tid: "acme", tenantId: "acme", org_id: "acme" };
  const token = tokenBy(key, { ...goodClaims(), ...elsewhere });
  const { created } = await target.write(`Bearer ${token}`);
  expect(created.outcome).toBe("permission_denied FORBIDDEN");
});

test("of a claim that is there twice the last one counts, alone", async () => {
  const text = JSON.stringify({ ...goodClaims(), tenant_id: undefined }).slice(0, -1);
  const token = tokenBy(key, `${text},"tenant_id":"acme","tenant_id":"twice"}`);
  expect((await target.create(token)).outcome).toBe("ok");
  expect(await target.tenants()).toContain("twice");
});

test("a token in a cookie, or in another header, is none", async () => {
  const token = tokenBy(key, goodClaims());
  const elsewhere = {
    cookie: `token=${token}; authorization=Bearer ${token}`,
    "x-authorization": `Bearer ${token}`,
    "proxy-authorization": `Bearer ${token}`,
  };
  const { created, recorded } = await target.write(undefined, elsewhere);
  expectUnauthenticated(created);
  expectUnauthenticated(recorded);
});
