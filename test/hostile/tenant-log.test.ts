import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodeEntryBundle } from "#libs/merkle/entry-bundle.ts";
import { startTenants, type Tenants } from "../support/attack-tenants.ts";
import { nowhere } from "../support/attack-twin.ts";
import { type Ended, type Folder, openFolder } from "../support/caseflow-command.ts";
import { openCase } from "../support/case-service.ts";
import { commandInProcess } from "../support/command-in-process.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { listAllEvents } from "../support/pair.ts";
import { rowDigests } from "../support/row-digests.ts";
import { openTail } from "../support/tailer.ts";

expectNoLeaks();

/* The log's commands with another tenant's token: exports, mirrors, proofs, tails, and what they say when they fail. */

const stack = new AsyncDisposableStack();
let tenants: Tenants;
let folder: Folder;
/** What names the victim's log, and its mirror. */
let victims: { readonly vkey: string; readonly mirror: string; readonly state: string };

beforeAll(async () => {
  tenants = stack.use(await startTenants());
  folder = stack.use(await openFolder());
  const vkey = (await run(tenants.victim, "log", "vkey")).stdout.trim();
  victims = { vkey, mirror: folder.path("victim"), state: folder.path("state") };
  await run(tenants.victim, "log", "mirror", victims.mirror, "--vkey", vkey);
  await run(tenants.victim, "verify", "--state", victims.state, "--vkey", vkey);
});
afterAll(() => stack.disposeAsync());

/** The command, as somebody who has every right in one tenant. */
async function run(tenant: string, ...args: readonly string[]): Promise<Ended> {
  const roles = ["auditor", "event_source"];
  const who = { tenant, sub: "everything", kind: "service", roles, sources: ["caseflow/case"] } as const;
  const token = await tenants.audit.issuer.token(who);
  return await commandInProcess(args, { AUDIT_URL: tenants.audit.url, CASEFLOW_TOKEN: token });
}
const runAsAttacker = (...args: readonly string[]) => run(tenants.attacker, ...args);

/** Nothing but a name that was given shows of the victim's. */
function expectNothingOf({ stdout, stderr }: Ended, given = ""): void {
  expect(tenants.leaks(`${stdout}\n${stderr}`.replaceAll(folder.path(""), ""), given)).toEqual([]);
}

async function ownEvents(): Promise<Buffer[]> {
  const events = await listAllEvents(tenants.audit.url, tenants.cases.issuer, tenants.attacker);
  return events.map(({ eventBytes }) => Buffer.from(eventBytes));
}

test("what a tenant exports, mirrors and verifies is its own log, beside whatever others have", async () => {
  const own = await ownEvents();
  const vkey = (await runAsAttacker("log", "vkey")).stdout.trim();
  expect(vkey).not.toBe(victims.vkey);
  for (const format of ["ndjson", "csv", "cloudevents"]) {
    const exported = await runAsAttacker("log", "export", "--format", format);
    expect(exported).toMatchObject({ exit: 0 });
    expectNothingOf(exported);
    const events = [...exported.stdout.matchAll(/"event":"([^"]+)"/g)].map(([, text = ""]) => text);
    if (format === "ndjson") expect(events.map((text) => Buffer.from(text, "base64"))).toEqual(own);
  }
  const mirror = folder.path("own");
  for (const args of [
    ["log", "mirror", mirror, "--vkey", vkey],
    ["verify", "--vkey", vkey],
  ]) {
    const ended = await runAsAttacker(...args);
    expect(ended).toMatchObject({ exit: 0, stdout: expect.stringContaining(` size=${own.length} `) });
    expectNothingOf(ended);
  }
  const bundle = await readFile(join(mirror, `tile/entries/000.p/${own.length}`));
  expect([...decodeEntryBundle(bundle)].map((entry) => Buffer.from(entry))).toEqual(own);
});

test("by the victim's key another tenant's token brings no mirror and no state up to date, and gives no log back", async () => {
  const before = { files: await filesIn(victims.mirror), state: await readFile(victims.state) };
  expect(Object.keys(before.files).length).toBeGreaterThanOrEqual(3);
  const rows = await rowDigests(tenants.audit.database.superuserUrl);
  const { vkey, mirror, state } = victims;
  const subject = String(tenants.known["closed"]);
  for (const [exit, ...args] of [
    [10, "log", "mirror", mirror],
    [10, "log", "mirror", folder.path("stolen")],
    [16, "log", "restore", mirror],
    [1, "log", "proof", "--subject", subject],
    [10, "verify", "--state", state],
  ] as const) {
    const ended = await runAsAttacker(...args, "--vkey", vkey);
    expect(ended, `${args.join(" ")}: ${ended.stderr}`).toMatchObject({ exit, stdout: "" });
    expectNothingOf({ ...ended, stderr: ended.stderr.replaceAll(vkey, "") }, subject);
  }
  expect({ files: await filesIn(mirror), state: await readFile(state) }).toEqual(before);
  const { "public.access_log": _, ...others } = await rowDigests(tenants.audit.database.superuserUrl);
  expect(rows).toMatchObject(others);
});

/** Every file in the folder, by its path. */
async function filesIn(path: string): Promise<Record<string, Buffer>> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  return Object.fromEntries(
    await Promise.all(paths.map(async (file) => [file, await readFile(file)] as const)),
  );
}

test.each<[what: string, args: (name: string) => readonly string[]]>([
  ["event", (name) => ["log", "proof", name]],
  ["event", (name) => ["log", "proof", name, "--history"]],
  ["closed", (name) => ["log", "proof", "--subject", name]],
  ["closed", (name) => ["log", "export", "--subject", name]],
  ["creator", (name) => ["log", "export", "--actor", name]],
])(
  "of the victim's %s another tenant is told what it is told of one that is not there",
  async (what, args) => {
    const name = String(tenants.known[what]);
    const twin = String(nowhere(name));
    const [stolen, nothing] = [await runAsAttacker(...args(name)), await runAsAttacker(...args(twin))];
    expectNothingOf(stolen, name);
    const shape = ({ exit, stdout, stderr }: Ended) => ({ exit, stdout, stderr });
    expect(JSON.stringify(shape(stolen)).replaceAll(name, "")).toBe(
      JSON.stringify(shape(nothing)).replaceAll(twin, ""),
    );
  },
);

test("a tail gives nothing of what other tenants do meanwhile", async () => {
  const { audit, cases, attacker, victim } = tenants;
  await using tail = await openTail(await audit.auditor(attacker));
  await using victimsTail = await openTail(await audit.auditor(victim));
  await openCase(cases, "submitted", victim);
  await victimsTail.until((messages) => messages.filter(({ event }) => event).length === 2);
  const own = await openCase(cases, "draft", attacker);
  await tail.until((messages) => messages.some(({ event }) => event));
  expect(tail.messages.flatMap(({ event }) => (event ? [event.event?.subject] : []))).toEqual([own]);
});
