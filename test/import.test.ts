import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { ReportLine } from "#services/cli/import/staging.ts";
import { readCases, readHistory } from "#services/cli/read-cases.ts";

import {
  caseflow,
  startCaseflow,
  openFolder,
  type CaseflowTarget,
  type Ended,
  type Folder,
} from "./support/caseflow-command.ts";
import { startCaseService, type CaseServiceFixture } from "./support/case-service.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { killStride } from "./support/crash-points.ts";
import { startCuttingProxy } from "./support/cutting-proxy.ts";
import { createRandom, writePermitFile } from "./support/permit-file.ts";
import { openSuperuser } from "./support/superuser.ts";

const permits = "services/cli/import/permits.yaml";
let cases: CaseServiceFixture;
let folder: Folder;
beforeAll(async () => {
  folder = await openFolder();
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(async () => {
  await cases?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const header =
  "case:channel,case:concept:name,case:department,case:group,concept:instance,concept:name,org:resource,time:timestamp";

/** Long enough to let others work; nothing is decided by it. */
const tick = () => pause(20, false);

async function importer(tenant: string): Promise<CaseflowTarget> {
  return { url: cases.url, token: await cases.token("importer", tenant) };
}

/** A line without what a dry run cannot know of a case that is not there yet. */
function withoutId(line: ReportLine): Omit<ReportLine, "caseId"> {
  const { row, requestId, action, outcome, reason } = line;
  return { row, requestId, action, outcome, reason };
}

/** In this process, where what is imported is small: of the command itself V8 is told to save memory rather than time. */
const here = ({ url, token }: CaseflowTarget, args: readonly string[]): Promise<Ended> =>
  commandInProcess(args, { CASE_URL: url, CASEFLOW_TOKEN: token });

/** Runs an import; returns what it said with its report, in the order of the file. */
const runImport = (tenant: string, file: string, ...options: string[]) =>
  runImportBy(caseflow, tenant, file, ...options);

async function runImportBy(
  command: typeof caseflow,
  tenant: string,
  file: string,
  ...options: string[]
): Promise<Ended & { readonly report: readonly ReportLine[] }> {
  const report = `report-${tenant}-${file}.ndjson`;
  const args = [
    "import",
    folder.path(file),
    "--mapping",
    permits,
    "--report",
    folder.path(report),
    ...options,
  ];
  const ended = await command(await importer(tenant), args);
  return { ...ended, report: await folder.lines<ReportLine>(report) };
}

test("the dry run predicts the outcome of every row and writes nothing; a second import applies nothing", async () => {
  await writePermitFile(folder.path("generated.csv"), { rows: 200, seed: 71 });
  const expected = await runImport("twice", "generated.csv", "--dry-run");
  expect(expected.exit, expected.stderr).toBe(0);
  const reader = await cases.as("auditor", "twice");
  expect((await reader.listCases({})).cases).toEqual([]);

  const first = await runImport("twice", "generated.csv");
  expect(first.stdout).toBe(expected.stdout);
  expect(first.report.map(withoutId)).toEqual(expected.report.map(withoutId));
  expect(first.report.map(({ row }) => row)).toEqual(Array.from({ length: 200 }, (_, at) => at + 1));
  const reasons = new Set(first.report.map(({ reason }) => reason));
  for (const reason of [
    "INVALID_TRANSITION",
    "REQUEST_ID_REUSED",
    "IGNORED",
    "INVALID_ROW",
    "ALREADY_APPLIED",
  ]) {
    expect(reasons).toContain(reason);
  }

  const predictedAgain = await runImport("twice", "generated.csv", "--dry-run");
  const second = await runImport("twice", "generated.csv");
  expect(second.stdout).toMatch(/^applied=0 skipped=\d+ failed=\d+\n$/);
  expect(second.report).toEqual(predictedAgain.report);
}, 180_000);

test("an import killed at ten random moments ends as one that was left in peace", async () => {
  await writePermitFile(folder.path("killed.csv"), { rows: 120, seed: 11 });
  expect((await runImport("peace", "killed.csv")).exit).toBe(0);
  const whole = await describeTenant("peace");

  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const random = createRandom(12);
  const args = ["import", folder.path("killed.csv"), "--mapping", permits];
  let killed = 0;
  for (let moment = 0; moment < 10; moment++) {
    const entries = await countEntries(superuser, "killed");
    const enough = entries + 1 + Math.floor(random() * (whole.events / 11));
    const running = startCaseflow(await importer("killed"), args);
    const over = running.ended.then(() => true);
    while ((await countEntries(superuser, "killed")) < enough && !(await Promise.race([over, tick()])));
    running.child.kill("SIGKILL");
    if ((await running.ended).exit === "SIGKILL") killed += 1;
  }
  expect(killed).toBe(10);
  expect((await countEntries(superuser, "killed")) < whole.events).toBe(true);
  expect((await runImport("killed", "killed.csv")).exit).toBe(0);
  expect(await describeTenant("killed")).toEqual(whole);
  expect((await runImport("killed", "killed.csv")).stdout).toMatch(/^applied=0 /);
}, 180_000);

/** Every case of a tenant with its history, by its reference, without what the service made anew; and its events. */
async function describeTenant(of: string) {
  const reader = await cases.as("auditor", of);
  const described = [];
  for await (const found of readCases(reader, {})) {
    const entries = await Array.fromAsync(readHistory(reader, found.caseId));
    described.push({
      reference: found.externalReference,
      state: found.state,
      version: found.version,
      content: found.content?.summary,
      entries: entries.map((entry) => ({
        ...{ action: entry.action, reason: entry.reason },
        ...{ assignee: entry.assigneeId, actor: entry.actor, occurredAt: entry.occurredAt },
      })),
    });
  }
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  return {
    cases: described.toSorted((one, other) => (one.reference < other.reference ? -1 : 1)),
    events: await countEntries(superuser, of),
  };
}

/** Events that wait for delivery: the relay is off, so it is all there ever were. */
async function countEntries(superuser: pg.Client, of: string): Promise<number> {
  const { rows } = await superuser.query<{ count: number }>(
    "SELECT count(*)::int AS count FROM outbox WHERE tenant_id = $1",
    [of],
  );
  return rows[0]!.count;
}

test("an import outlives a service that is gone for a while", async () => {
  await writePermitFile(folder.path("outage.csv"), { rows: 60, seed: 3 });
  await using proxy = await startCuttingProxy({ host: "127.0.0.1", port: Number(new URL(cases.url).port) });
  const target = { url: `http://127.0.0.1:${proxy.port}`, token: await cases.token("importer", "outage") };
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const running = startCaseflow(target, ["import", folder.path("outage.csv"), "--mapping", permits]);
  await vi.waitFor(async () => expect(await countEntries(superuser, "outage")).toBeGreaterThan(5), 20_000);
  proxy.refusing = true;
  proxy.cutAll();
  const before = await countEntries(superuser, "outage");
  await tick();
  proxy.refusing = false;
  const { exit, stdout, stderr } = await running.ended;
  expect(exit, stderr).toBe(0);
  expect(await countEntries(superuser, "outage")).toBeGreaterThan(before);
  const applied = await countEntries(superuser, "outage");
  // What was committed while its answer was lost is told as applied before.
  const [, told, skipped] = /^applied=(\d+) skipped=(\d+)/.exec(stdout) ?? [];
  expect(Number(told) + Number(skipped)).toBeGreaterThanOrEqual(applied);
});

test("the first interrupt stops between two rows with the counts so far, and the same command goes on", async () => {
  // One case alone: it is between its rows that the run must stop.
  const row = (at: number, action: string) =>
    `Internet,case-1,General,Group 1,task-${at},${action},Resource1,${new Date(Date.UTC(2011, 9, 1, 0, at)).toISOString()}`;
  const updates = Array.from({ length: 150 }, (_, at) => row(at + 1, "T03 Adjust confirmation of receipt"));
  const lines = [header, row(0, "Confirmation of receipt"), ...updates];
  await writeFile(folder.path("stopped.csv"), lines.join("\n"));
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const args = [
    "import",
    folder.path("stopped.csv"),
    "--mapping",
    permits,
    "--report",
    folder.path("s.ndjson"),
  ];
  const running = startCaseflow(await importer("stopped"), args);
  await vi.waitFor(async () => expect(await countEntries(superuser, "stopped")).toBeGreaterThan(5), 20_000);
  running.child.kill("SIGINT");
  const { exit, stdout, stderr } = await running.ended;
  expect(exit).toBe(1);
  expect(stderr).toContain("stopped: the same command goes on from here");
  const applied = await countEntries(superuser, "stopped");
  expect(stdout).toMatch(new RegExp(`^applied=${applied} `));
  const report = await folder.lines<ReportLine>("s.ndjson");
  expect(report.filter(({ outcome }) => outcome === "applied")).toHaveLength(applied);
  const rest = await runImport("stopped", "stopped.csv");
  expect(rest.stdout).toBe(`applied=${151 - applied} skipped=${applied} failed=0\n`);
  expect(applied).toBeLessThan(151);
});

const real = process.env["CASEFLOW_PERMITS"];
/** Of so many applications of the real file one is imported; a campaign imports all. */
const nth = killStride() === 1 ? 1 : 6;
test.skipIf(real === undefined)(
  "of the real file each row is accounted for, and the dry run is right",
  async () => {
    const text = await readFile(real!, "utf8");
    await writeFile(folder.path("real.csv"), text);
    const expected = await runImport("real", "real.csv", "--dry-run");
    expect(expected.report.map(({ row }) => row)).toEqual(Array.from({ length: 8_577 }, (_, at) => at + 1));

    const lines = text.trimEnd().split("\n");
    const applications = new Set(lines.slice(1).map(applicationOf));
    const some = new Set([...applications].filter((_, at) => at % nth === 0));
    const isSome = (line: string | undefined) => some.has(applicationOf(line!));
    await writeFile(folder.path("some.csv"), [lines[0], ...lines.slice(1).filter(isSome)].join("\n"));
    const first = await runImport("real", "some.csv");
    const told = (report: readonly ReportLine[]) => report.map((line) => ({ ...withoutId(line), row: 0 }));
    const predicted = expected.report.filter(({ row }) => isSome(lines[row]));
    expect(told(first.report)).toEqual(told(predicted));
    const counts = (["applied", "skipped", "failed"] as const).map(
      (name) => `${name}=${predicted.filter(({ outcome }) => outcome === name).length}`,
    );
    expect(first.stdout).toBe(`${counts.join(" ")}\n`);
    expect(first.report.filter(({ outcome }) => outcome === "applied").length).toBeGreaterThan(3_000 / nth);
  },
  900_000,
);

/** The second cell, which is never quoted. */
const applicationOf = (line: string): string => line.split(",", 2)[1]!;

test("a row that comes to light after later ones of its case were applied is refused, and so each time", async () => {
  const target = { tenant: "late", file: "late.csv" };
  const rows = [
    "Internet,case-1,General,Group 1,task-1,Confirmation of receipt,Resource1,2011-10-01 10:00:00+02:00",
    "Internet,case-1,General,Group 1,task-2,T03 Adjust confirmation of receipt,Resource1,2011-10-02 10:00:00+02:00",
    "Internet,case-1,General,Group 1,task-3,T02 Check confirmation of receipt,Resource2,2011-10-02 10:00:00+02:00",
  ];
  const run = async (...given: (string | undefined)[]) => {
    await writeFile(folder.path(target.file), [header, ...given].join("\n"));
    const { report } = await runImportBy(here, target.tenant, target.file);
    return report.map(({ outcome, reason }) => [outcome, reason].join(" ").trim());
  };
  expect(await run(rows[0], rows[2])).toEqual(["applied", "applied"]);
  // At the same time as what was applied, and before it in the file; without the row that created the case, too.
  const all = ["skipped ALREADY_APPLIED", "failed OUT_OF_ORDER", "skipped ALREADY_APPLIED"];
  expect(await run(...rows)).toEqual(all);
  expect(await run(...rows)).toEqual(all);
  const earlier = rows[1]!.replace("2011-10-02", "2011-10-01").replace("10:00:00", "10:30:00");
  expect(await run(earlier)).toEqual(["failed OUT_OF_ORDER"]);
});

test.each(["caseworker", "reviewer", "supervisor"])(
  "an importer who is a %s too is turned away before anything is read, or predicted",
  async (role) => {
    const claims = { tenant: "two-voices", sub: "both", roles: ["importer", role] };
    const target = { url: cases.url, token: await cases.issuer.token(claims) };
    await writeFile(folder.path("none.csv"), "");
    const args = ["import", folder.path("none.csv"), "--mapping", permits, "--dry-run"];
    const { exit, stdout, stderr } = await here(target, args);
    expect({ exit, stdout }).toEqual({ exit: 1, stdout: "" });
    expect(stderr).toBe(
      `caseflow: the token has role ${role} beside importer: an importer acts for others alone\n`,
    );
  },
);
