import { afterAll, beforeAll, expect, test } from "vitest";
import { makePageToken } from "#libs/page-token/page-token.ts";
import type { Answer } from "../support/attack-answer.ts";
import { createAttacker } from "../support/attack-call.ts";
import { isMandatory, makeRequest } from "../support/attack-request.ts";
import { startTenants, type Tenants } from "../support/attack-tenants.ts";
import { nowhere, shapeOf } from "../support/attack-twin.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { walkMethods, wantsUuid, type WalkedMethod } from "../support/schema-walk.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
const attacker = stack.use(createAttacker());
let tenants: Tenants;

beforeAll(async () => {
  tenants = stack.use(await startTenants());
});
afterAll(() => stack.disposeAsync());

const methods = (await walkMethods())
  .filter(({ method }) => method.input.fields.some(({ name }) => name === "page_token"))
  .map((walked) => ({ name: walked.name, walked }));

/** Asks for a page of one, of the victim's case where the method wants a case. */
async function askForPage(walked: WalkedMethod, tenant: string, token: string): Promise<Answer> {
  const { input } = walked.method;
  const required = input.fields.filter((field) => wantsUuid(field) && isMandatory(walked, field.name));
  const ids = Object.fromEntries(required.map(({ name }) => [name, tenants.known["closed"]!]));
  const message = makeRequest(walked, { page_size: 1, page_token: token, ...ids });
  if (message === undefined) throw new Error(`${walked.name}: teach this test to ask for a page`);
  const url = tenants[walked.server === "case" ? "cases" : "audit"].url;
  return attacker.call(url, walked.method, message, await tenants.token(walked.roles[0]!, tenant));
}

function nextPageToken({ messages }: Answer): string {
  const token = messages[0]?.["nextPageToken"];
  return typeof token === "string" ? token : "";
}

test.for(methods)(
  "$name: a page token of one tenant tells another nothing",
  async ({ walked }, { annotate }) => {
    const first = await askForPage(walked, tenants.victim, "");
    if (first.outcome.startsWith("unimplemented")) {
      await annotate("not built yet");
      return;
    }
    const token = nextPageToken(first);
    expect(token, "the victim has more than one").not.toBe("");
    expect((await askForPage(walked, tenants.victim, token)).outcome).toBe("ok");

    const stolen = await askForPage(walked, tenants.attacker, token);
    expect(stolen.outcome).toBe("invalid_argument PAGE_TOKEN_INVALID");
    expect(tenants.leaks(stolen.raw, tenants.known["closed"]!)).toEqual([]);
    const twin = String(nowhere(token));
    expect(shapeOf(stolen, token)).toEqual(shapeOf(await askForPage(walked, tenants.attacker, twin), twin));
  },
);

const noFilter = JSON.stringify({
  states: [],
  caseType: "",
  assignedReviewerId: "",
  creatorId: "",
  externalReference: "",
});
/** What each token is bound to, by somebody who has read the code. */
const scopes: Readonly<Record<string, (tenant: string) => readonly string[]>> = {
  "CaseService.ListCases": (tenant) => [tenant, "cases", noFilter],
  "CaseService.GetCaseHistory": (tenant) => [tenant, "history", String(tenants.known["closed"])],
  "CaseAdminService.ListDeadLetters": (tenant) => [tenant, "dead letters", JSON.stringify({})],
  "CaseAdminService.ListEntryDigests": (tenant) => [tenant, "entry digests", JSON.stringify({ subject: "" })],
  "AuditService.ListEvents": (tenant) => ["events", tenant],
  "AuditService.ListSubjectHeads": (tenant) => ["heads", tenant, ""],
  "AuditService.ListAccesses": (tenant) => ["accesses", tenant, "{}"],
};
const positions = [
  "",
  " ",
  "x",
  "-1",
  "-9",
  "1e3",
  "0x10",
  "1.5",
  "NaN",
  "9".repeat(30),
  "'; --",
  "\0",
  "é".repeat(9),
  "source\0",
  "\0subject",
  "source\0sub\0ject",
  `${"x".repeat(129)}\0subject`,
];

test.for(methods.filter(({ name }) => name in scopes))(
  "$name: a token forged around a position that makes no sense is refused",
  async ({ name, walked }) => {
    for (const position of positions) {
      const token = makePageToken(scopes[name]!(tenants.attacker), position);
      const { outcome, raw } = await askForPage(walked, tenants.attacker, token);
      expect(tenants.leaks(raw, tenants.known["closed"]!), position).toEqual([]);
      expect(outcome, JSON.stringify(position)).toBe("invalid_argument PAGE_TOKEN_INVALID");
    }
  },
);
