import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import { readStack, type Stack, tokenNames } from "#libs/client/stack.ts";
import { openSession } from "#libs/pg/session.ts";

import {
  type Command,
  npmStart,
  processesOf,
  root,
  run,
  start,
  untilGone,
  untilReady,
} from "./support/local-stack.ts";
import { canaries } from "./support/canaries.ts";
import { makeTemporaryHome, type TemporaryHome } from "./support/temporary-home.ts";

const command = join(root, "services/cli/main.ts");
let temporary: TemporaryHome;
let home: string;
let starting: Command;
let stack: Stack;

beforeAll(async () => {
  temporary = await makeTemporaryHome(); // Below a folder with mode 0700.
  home = temporary.path;
  starting = npmStart({ home });
  stack = await untilReady(home, starting);
}, 60_000);

afterAll(async () => {
  starting.kill("SIGTERM");
  await starting.ended;
  await untilGone(home);
  await temporary[Symbol.asyncDispose]();
});

test("stack.json names everything the interface promises, and only its owner can read it", async () => {
  expect((await stat(join(home, "stack.json"))).mode & 0o777).toBe(0o600);
  expect(Object.keys(stack).toSorted()).toEqual(["audit", "case", "jwks", "postgres", "tokens", "version"]);
  const service = { url: expect.any(String), metricsUrl: expect.any(String), pid: expect.any(Number) };
  expect(stack).toMatchObject({ case: service, audit: service });
  expect(Object.keys(stack.postgres).toSorted()).toEqual(
    ["auditAppUrl", "auditUrl", "caseAppUrl", "caseUrl", "pid"].toSorted(),
  );
  expect(Object.keys(stack.tokens)).toEqual([...tokenNames]);
});

test("every secret the stack keeps is closed to others", async () => {
  const names = [
    "issuer-key.json",
    "relay-token",
    "log-keys/1.pem",
    "stack.json",
    "logs/case.log",
    "logs/audit.log",
  ];
  for (const name of [...names, "log-keys", "signer"]) {
    expect((await stat(join(home, name))).mode & 0o077, name).toBe(0);
  }
});

test("the database URLs are of roles that own their database, and of roles that own nothing", async () => {
  const { caseUrl, auditUrl, caseAppUrl, auditAppUrl } = stack.postgres;
  const roles = await Promise.all([caseUrl, auditUrl, caseAppUrl, auditAppUrl].map(describeRole));
  expect(roles).toEqual([
    { role: "case_owner", superuser: false, owns: true },
    { role: "audit_owner", superuser: false, owns: true },
    { role: "case_app", superuser: false, owns: false },
    { role: "audit_app", superuser: false, owns: false },
  ]);
});

test("the services are processes of their own, in groups of their own, and probes answer", async () => {
  for (const { pid, metricsUrl } of [stack.case, stack.audit]) {
    expect(await processesOf(home)).toContain(pid);
    const [, , group] = afterName(await readFile(`/proc/${pid}/stat`, "utf8"));
    expect(Number(group)).toBe(pid);
    expect((await fetch(`${metricsUrl}/readyz`)).status).toBe(200);
  }
});

test("tokens speak for their tenant alone", async () => {
  const { caseworker = "", otherTenant = "" } = stack.tokens;
  await using ours = createCaseClient({ url: stack.case.url, token: caseworker });
  await using theirs = createCaseClient({ url: stack.case.url, token: otherTenant });
  const { case: created } = await ours.createCase({ requestId: randomUUID(), caseType: "t", content: {} });
  const caseId = created?.caseId ?? "";
  expect((await ours.getCase({ caseId })).case?.caseId).toBe(caseId);
  await expect(theirs.getCase({ caseId })).rejects.toThrow(/not_found/);
});

test("a second start with the same folder is refused in one sentence, and leaves the first alone", async () => {
  await using second = start({ home });
  expect(await second.ended).toBe(1);
  expect(second.output()).toMatch(/^CASEFLOW_HOME: another stack \(process \d+\) is running with .*$/m);
  expect((await readStack(home)).case.pid).toBe(stack.case.pid);
});

test("a stack with another folder runs beside it", async () => {
  await using other = await makeTemporaryHome();
  await using beside = start({ home: other.path });
  const { case: cases } = await untilReady(other.path, beside);
  expect(cases.url).not.toBe(stack.case.url);
  beside.kill("SIGTERM");
  expect(await beside.ended).toBe(0);
  await untilGone(other.path);
  expect((await readStack(home)).version).toBe(1);
}, 60_000);

test("the demo takes a case through its life and finds its trail unbroken", async () => {
  await using demo = run("npm", ["run", "demo"], { home });
  expect(await demo.ended, demo.output()).toBe(0);
  const said = demo.output();
  for (const line of [
    /create +ada\.brook +draft +1$/m,
    /submit, retried +ada\.brook +submitted +3 {2}the first answer again/m,
    /approve +ada\.brook +refused: SELF_APPROVAL$/m,
    /approve +ravi\.stone +approved +6$/m,
    /close +sofia\.marsh +closed +7$/m,
    /7 +caseflow\.case\.closed +sofia\.marsh +approved → closed +[0-9a-f]{16}$/m,
    /The chain holds/,
  ]) {
    expect(said).toMatch(line);
  }
});

test("the commands that are printed can be pasted as they stand", async () => {
  const block = /^token\(\)[^]*ListEvents$/m.exec(starting.output())?.[0] ?? "";
  await using shell = run("bash", [], { home });
  shell.write(`set -e\n${block}\nexit\n`);
  expect(await shell.ended, shell.output()).toBe(0);
  expect(shell.output()).toContain('"state": "CASE_STATE_DRAFT"');
  expect(shell.output()).toContain('"type": "caseflow.case.created"');
});

test("caseflow shows a case of the running stack, and makes tokens that its services accept", async () => {
  await using cases = createCaseClient({ url: stack.case.url, token: stack.tokens.caseworker ?? "" });
  const content = { title: canaries.kiosk };
  const { case: created } = await cases.createCase({ requestId: randomUUID(), caseType: "t", content });
  const caseId = created?.caseId ?? "";

  await using shown = run("npx", ["caseflow", "case", "show", caseId], { home });
  expect(await shown.ended, shown.output()).toBe(0);
  expect(shown.output()).toMatch(/state +draft\n/);
  expect(shown.output()).toMatch(new RegExp(`title +${canaries.kiosk}\n`));

  const args = ["token", "--tenant", "harbour-city", "--sub", "eve", "--roles", "auditor"];
  await using printed = run(command, args, { home });
  expect(await printed.ended).toBe(0);
  expect(printed.output()).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  await using audit = createAuditClient({ url: stack.audit.url, token: printed.output().trim() });
  expect((await audit.listEvents({ filter: { actorId: "nobody" } })).events).toEqual([]);
});

test("caseflow states that the running stack's services agree, with a token of its own making", async () => {
  const token = stack.tokens.caseworker ?? "";
  await using cases = createCaseClient({ url: stack.case.url, token });
  const content = { title: "A pontoon" };
  await cases.createCase({ requestId: randomUUID(), caseType: "t", content });
  await using audit = createAuditClient({ url: stack.audit.url, token: stack.tokens.auditor ?? "" });
  const { verifierKeys } = await vi.waitFor(() => audit.getCheckpoint({}), { timeout: 15_000 });

  const file = join(home, "agreed.tlog-proof");
  await using recorded = run(command, ["reconcile", "--record", file], { home });
  expect(await recorded.ended, recorded.output()).toBe(0);
  const args = ["verify", file, "--vkey", verifierKeys[0] ?? ""];
  await using verified = run(command, args, { home });
  expect(await verified.ended, verified.output()).toBe(0);
  expect(verified.output()).toMatch(/^states: of the log's first \d+ events \d+ are of caseflow\/case, /m);
}, 60_000);

test("caseflow migrate finds the running stack's databases up to date", async () => {
  await using migrated = run("npm", ["run", "--silent", "migrate", "--", "--json"], { home });
  expect(await migrated.ended, migrated.output()).toBe(0);
  expect(JSON.parse(migrated.output().trim().split("\n").at(-1) ?? "")).toEqual([
    { database: "case", applied: [] },
    { database: "audit", applied: [] },
  ]);
});

test("the demo without a stack says in one sentence how to start one", async () => {
  const empty = await mkdtemp(join(tmpdir(), "caseflow-empty-"));
  await using demo = run(process.execPath, ["services/local/demo.ts"], { home: empty });
  expect(await demo.ended).toBe(1);
  expect(demo.output()).toContain(`no stack is running with the folder ${empty}: start it with npm start`);
  await rm(empty, { recursive: true });
});

async function describeRole(url: string) {
  await using session = await openSession({
    url,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {},
  });
  const { rows } = await session.query<{ role: string; superuser: boolean; owns: boolean }>(`
    SELECT current_user::text AS role, rolsuper AS superuser,
           EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid) AS owns
      FROM pg_roles
     WHERE rolname = current_user`);
  return rows[0];
}

/** The fields of a process's `stat` after its name, which may hold blanks: state, parent, group, … */
function afterName(line: string): string[] {
  return line.slice(line.lastIndexOf(")") + 2).split(" ");
}
