import { afterAll, beforeAll, expect, test } from "vitest";
import type { Message } from "@bufbuild/protobuf";
import type { Answer } from "../support/attack-answer.ts";
import { createAttacker } from "../support/attack-call.ts";
import { makeRequest } from "../support/attack-request.ts";
import { startTenants, type Tenants } from "../support/attack-tenants.ts";
import { shapeOf } from "../support/attack-twin.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { rowDigests } from "../support/row-digests.ts";
import { walkFields, walkMethods, wantsUuid, type WalkedMethod } from "../support/schema-walk.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
const attacker = stack.use(createAttacker());
let tenants: Tenants;

beforeAll(async () => {
  tenants = stack.use(await startTenants());
});
afterAll(() => stack.disposeAsync());

const methods = (await walkMethods()).map((walked) => ({ name: walked.name, walked }));
/** Every role that means anything anywhere. */
const allRoles = [...new Set(methods.flatMap(({ walked }) => walked.roles))];

/** A request about what exists in the caller's tenant, one about what does not, and what is no request at all. */
function bodiesFor(walked: WalkedMethod): readonly (Message | Uint8Array)[] {
  const uuids = walkFields(walked.method.input).filter(({ field }) => wantsUuid(field));
  const existing = uuids.map(({ path }): [string, string | number] => [path, existingFor(path)]);
  return [
    makeRequest(walked, Object.fromEntries(existing))!,
    makeRequest(walked)!,
    Buffer.from("\xff\xff", "latin1"),
  ];
}

function existingFor(path: string): string | number {
  if (path.endsWith("request_id")) return tenants.known["request of caseflow.case.created"]!;
  return tenants.known[/event_ids?$/.test(path) ? "event" : "closed"]!;
}

/** A refusal comes at once; where the machine stalls, the second that a stream has must not be over before. */
const untilRefused = { "connect-timeout-ms": "10000" };

async function askAll(
  walked: WalkedMethod,
  token: string | undefined,
  { isLetPass = false } = {},
): Promise<readonly Answer[]> {
  const { url } = tenants[walked.server === "case" ? "cases" : "audit"];
  const ask = (body: Message | Uint8Array) => {
    const isRefused = !isLetPass || body instanceof Uint8Array;
    return attacker.call(url, walked.method, body, token, isRefused ? untilRefused : {});
  };
  return Promise.all(bodiesFor(walked).map(ask));
}

function tokenOf(roles: readonly string[], walked: WalkedMethod, tenant = tenants.victim): Promise<string> {
  return tenants.cases.issuer.token({ sub: "mallory", roles, ...(!walked.tenantFromMessage && { tenant }) });
}

/** The same refusal whatever the body. */
function expectRefusal(answers: readonly Answer[], outcome: string, told: string): void {
  for (const answer of answers) {
    expect(answer.outcome, told).toBe(outcome);
    expect(shapeOf(answer, "-"), told).toEqual(shapeOf(answers[0]!, "-"));
  }
}

test.for(methods)("$name refuses each wrong role, and says nothing else", async ({ walked }) => {
  const urls = [tenants.cases.database.superuserUrl, tenants.audit.database.superuserUrl];
  const before = await Promise.all(urls.map(rowDigests));
  const wrong = allRoles.filter((role) => !walked.roles.includes(role));
  const misspelt = walked.roles.slice(0, 1).flatMap((role) => [role.toUpperCase(), `${role}s`, "*"]);
  for (const roles of [[], wrong, ...[...wrong, ...misspelt].map((role) => [role])]) {
    const answers = await askAll(walked, await tokenOf(roles, walked));
    expectRefusal(answers, "permission_denied FORBIDDEN", `roles ${roles.join()}`);
  }
  expectRefusal(await askAll(walked, undefined), "unauthenticated UNAUTHENTICATED", "no token");
  expect(await Promise.all(urls.map(rowDigests))).toEqual(before);
});

test.for(methods)(
  "$name is refused without a tenant, and is let pass with each right role",
  async ({ walked }) => {
    for (const role of walked.roles) {
      const homeless = await tenants.cases.issuer.token({ sub: "mallory", roles: [role] });
      const nowhere = await askAll(walked, homeless);
      if (!walked.tenantFromMessage) expectRefusal(nowhere, "permission_denied FORBIDDEN", "no tenant");
      // A tenant that has nothing: what passes here has nothing to change.
      const token = await tokenOf([role], walked, tenants.anotherAttacker());
      const passed = await askAll(walked, token, { isLetPass: true });
      for (const { outcome } of passed)
        expect(outcome, role).not.toMatch(/^(permission_denied|unauthenticated)/);
      expect(passed.at(-1)?.outcome, "what is no request").toMatch(/^(invalid_argument|unimplemented) /);
    }
  },
);
