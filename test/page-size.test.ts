import { Client, type QueryResult } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAttacker } from "./support/attack-call.ts";
import { makeRequest } from "./support/attack-request.ts";
import { auditTenant } from "./support/audit-service.ts";
import { openCase, tenant } from "./support/case-service.ts";
import { makeEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { startPair, type Pair } from "./support/pair.ts";
import { walkMethods, type WalkedMethod } from "./support/schema-walk.ts";
import { openSuperuser } from "./support/superuser.ts";
import { openWatch, startWatch } from "./support/watcher.ts";

expectNoLeaks();

/* How much a page holds: 50 where nothing is said, as many as are asked for up to 500, and no more. */

const stack = new AsyncDisposableStack();
const attacker = stack.use(createAttacker());
let pair: Pair;
let caseId: string;
/** Of before everything but the first case. */
let resumeToken: string;

/** One more of everything than the largest page holds. */
const storedCount = 501;

beforeAll(async () => {
  pair = stack.use(await startPair({ relay: "off" }));
  caseId = await openCase(pair.cases);
  await using watch = await openWatch(await pair.cases.as("auditor"));
  resumeToken = watch.resumeToken;
  await fillCases();
  const source = await pair.audit.source();
  const events = Array.from({ length: storedCount }, () => makeEvent().bytes);
  await source.recordEvents({ events: events.slice(1) });
  await source.recordEvents({ events: events.slice(0, 1) });
  await using superuser = await openSuperuser(pair.audit.database.superuserUrl);
  await superuser.query(
    `INSERT INTO access_log (tenant_id, access_id, at, principal_id, principal_kind, roles, method, filter, outcome, given_count)
     SELECT $1, gen_random_uuid(), now(), 'reader', 'person', '{auditor}', 'GetEvent', '{}', 'OK', 1 FROM generate_series(1, $2)`,
    [auditTenant, storedCount],
  );
});
afterAll(() => stack.disposeAsync());

/** Other cases like the first, each with entry and content, other entries of the first, each a dead letter. */
async function fillCases(): Promise<void> {
  await using superuser = await openSuperuser(pair.cases.database.superuserUrl);
  await superuser.query("SET session_replication_role = replica"); // Past the foreign keys.
  const same = "tenant_id, principal_id, event, event_digest, recorded_at";
  const columns = `${same}, case_id, version, action, from_state, to_state, previous_version, request_id, event_id`;
  const newIds = "gen_random_uuid(), gen_random_uuid()";
  const others = `generate_series(2, ${storedCount}) n`;
  const otherCase = "lpad(n::text, 32, '0')::uuid";
  const withOtherId = (row: string) =>
    `SELECT (jsonb_populate_record(${row}, jsonb_build_object('case_id', ${otherCase}))).*`;
  for (const statement of [
    `INSERT INTO cases ${withOtherId("c")} FROM cases c, ${others}`,
    `INSERT INTO case_contents ${withOtherId("k")} FROM case_contents k, ${others}`,
    `INSERT INTO audit_entries (${columns})
     SELECT ${same}, ${otherCase}, 1, 'create', NULL, 'draft', NULL, ${newIds} FROM audit_entries, ${others}`,
    `INSERT INTO audit_entries (${columns})
     SELECT ${same}, case_id, n, 'update', 'draft', 'draft', n - 1, ${newIds} FROM audit_entries, ${others} WHERE case_id = '${caseId}'`,
    `INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'REASON', 'detail', now() FROM audit_entries WHERE case_id = '${caseId}'`,
  ]) {
    await superuser.query(statement);
  }
}

/** A page as it is answered: how many things are on it, and whether there is another. */
async function askFor(walked: WalkedMethod, pageSize: number) {
  const { method, server, roles } = walked;
  const request = makeRequest(walked, "caseId" in method.input.field ? { case_id: caseId } : {})!;
  const token = await pair.cases.issuer.token({
    ...{ tenant: server === "case" ? tenant : auditTenant, sub: "reader", roles: roles.slice(0, 1) },
  });
  const { url } = server === "case" ? pair.cases : pair.audit;
  // Set by hand, since the rules do not let every size through.
  const { outcome, messages } = await attacker.call(url, method, Object.assign(request, { pageSize }), token);
  const items = method.output.fields.find(({ fieldKind }) => fieldKind === "list")!;
  const listed = messages[0]?.[items.jsonName];
  return {
    outcome,
    count: Array.isArray(listed) ? listed.length : 0,
    more: (messages[0]?.["nextPageToken"] ?? "") !== "",
  };
}

const pagers = (await walkMethods()).filter(({ method }) => "pageSize" in method.input.field);

test("the methods that give pages are found", () => {
  expect(pagers.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      "CaseService.ListCases",
      "CaseService.GetCaseHistory",
      "AuditService.ListEvents",
    ]),
  );
});

test.for(pagers.map((walked) => ({ name: walked.name, walked })))(
  "a page of $name holds what is asked for, 50 where nothing is, and never more than 500",
  async ({ walked }, { skip }) => {
    const first = await askFor(walked, 1);
    if (first.outcome.startsWith("unimplemented")) skip("the method is not built");
    expect(first).toEqual({ outcome: "ok", count: 1, more: true });
    for (const [size, count] of [
      [0, 50],
      [49, 49],
      [500, 500],
    ] as const) {
      expect(await askFor(walked, size), `${size}`).toEqual({ outcome: "ok", count, more: true });
    }
    for (const size of [501, 2 ** 32 - 1]) {
      expect((await askFor(walked, size)).outcome, `${size}`).toBe("invalid_argument INVALID_REQUEST");
    }
  },
);

test("a watch that is far behind reads 100 changes at a time, and fewer where they are large", async () => {
  using fetches = observeFetches("list_changes");
  await using many = startWatch(await pair.cases.as("auditor"), resumeToken);
  await many.until((messages) => messages.length > 2 * (storedCount - 1));
  await many.cut();
  expect(
    fetches
      .sizes()
      .slice(0, 10)
      .map(({ length }) => length),
  ).toEqual(Array.from({ length: 10 }, () => 100));

  await using superuser = await openSuperuser(pair.cases.database.superuserUrl);
  await superuser.query("SET session_replication_role = replica");
  await using before = await openWatch(await pair.cases.as("auditor"));
  await before.cut();
  const padding = Buffer.concat([Buffer.from([0xfa, 0x3e, 0xe0, 0xd4, 0x03]), Buffer.alloc(60_000)]); // Field 1007, of 60,000 bytes.
  await superuser.query(
    `INSERT INTO audit_entries (tenant_id, principal_id, event, event_digest, recorded_at, case_id, version, action, from_state, to_state,
                                previous_version, request_id, event_id)
     SELECT tenant_id, principal_id, event || $2, sha256(event || $2), recorded_at, case_id, 1000 + n, 'update', 'draft', 'draft', 999 + n,
            gen_random_uuid(), gen_random_uuid()
       FROM audit_entries, generate_series(1, 40) n WHERE case_id = $1 AND version = 1`,
    [caseId, padding],
  );
  using large = observeFetches("list_changes");
  await using few = startWatch(await pair.cases.as("auditor"), before.resumeToken);
  await few.until((messages) => messages.length > 40);
  expect(large.sizes().length).toBeGreaterThan(1);
  for (const sizes of large.sizes()) {
    // What lies below the limit is read, and so the last one may pass it.
    expect(sizes.slice(0, -1).reduce((sum, size) => sum + size, 0)).toBeLessThan(1024 * 1024);
  }
});

/** Listens to what the statement of that name gives, until disposed: the sizes of each answer's events. */
function observeFetches(name: string): Disposable & { sizes(): readonly (readonly number[])[] } {
  const fetched: number[][] = [];
  const { query } = Client.prototype;
  Client.prototype.query = function listen(this: Client, ...args: unknown[]): unknown {
    const answer: unknown = Reflect.apply(query, this, args);
    const [given] = args;
    const isMeant = typeof given === "object" && given !== null && "name" in given && given.name === name;
    if (!isMeant || !(answer instanceof Promise)) return answer;
    return answer.then((result: QueryResult<{ event: Buffer }>) => {
      if (result.rows.length > 0) fetched.push(result.rows.map(({ event }) => event.length));
      return result;
    });
  } as typeof query;
  return { sizes: () => fetched, [Symbol.dispose]: () => void (Client.prototype.query = query) };
}
