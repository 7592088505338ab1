import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { v7 } from "uuid";
import { readConfig } from "#services/cli/config.ts";
import { adviceOn } from "#services/cli/dead-letters/advice.ts";
import { createProgram } from "#services/cli/main.ts";
import { openCase } from "./support/case-service.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { startDeadLetterStage, type DeadLetterStage } from "./support/dead-letters.ts";

let stage: DeadLetterStage;
/** Of three cases, in the order in which they were opened; the first has an event waiting behind it. */
let eventIds: readonly [string, string, string];
let caseIds: readonly string[];

beforeAll(async () => {
  stage = await startDeadLetterStage();
  const { cases } = stage;
  caseIds = [
    await openCase(cases, "submitted"),
    await openCase(cases, "draft"),
    await openCase(cases, "draft"),
  ];
  const [first, second, third] = await Promise.all(caseIds.map((caseId) => idOfFirst(caseId)));
  eventIds = [first!, second!, third!];
  await stage.giveUp(eventIds[0], "EVENT_ID_REUSED");
  await stage.giveUp(eventIds[1], "DELIVERY_FAILED");
  await stage.giveUp(eventIds[2], "SEQUENCE_REUSED");
});
afterAll(() => stage?.[Symbol.asyncDispose]());

async function idOfFirst(caseId: string): Promise<string> {
  const auditor = await stage.cases.as("auditor");
  const { entries } = await auditor.getCaseHistory({ caseId });
  return entries[0]!.eventId;
}

async function run(...args: string[]) {
  const env = { CASE_URL: stage.cases.url, CASEFLOW_TOKEN: await stage.cases.token("operator") };
  return commandInProcess(["dead-letters", ...args], env);
}

test("the list is an aligned table, the oldest first, cut where it is told to be", async () => {
  const { exit, stdout, stderr } = await run("list", "--limit", "2");
  expect(exit, stderr).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines).toHaveLength(4);
  const columns = ["EVENT", "SUBJECT", "SEQ", "TYPE", "REASON", "SINCE", "WAITING BEHIND"];
  const starts = columns.map((name) => lines[0]!.indexOf(name));
  const cells = lines
    .slice(0, 3)
    .map((line) => starts.map((start, index) => line.slice(start, starts[index + 1]).trim()));
  expect(cells[0]).toEqual(columns);
  const time = expect.stringMatching(/^\d{4}-.*Z$/);
  expect(cells[1]).toEqual([
    eventIds[0],
    caseIds[0],
    "1",
    "caseflow.case.created",
    "EVENT_ID_REUSED",
    time,
    "1",
  ]);
  expect(cells[2]).toEqual([
    eventIds[1],
    caseIds[1],
    "1",
    "caseflow.case.created",
    "DELIVERY_FAILED",
    time,
    "0",
  ]);
  expect(lines[3]).toMatch(/^There are more/);
});

test("as JSON the list is one line, of one case where one is named", async () => {
  const { stdout } = await run("list", "--case", caseIds[1]!, "--json");
  expect(stdout.trimEnd().split("\n")).toHaveLength(1);
  const { deadLetters, more } = JSON.parse(stdout);
  expect(more).toBe(false);
  expect(deadLetters).toMatchObject([{ eventId: eventIds[1], event: { subject: caseIds[1] } }]);
});

test("one is shown with what it tells, why it is here, what waits, and what each remedy would do", async () => {
  const { exit, stdout, stderr } = await run("show", eventIds[0].toUpperCase());
  expect(exit, stderr).toBe(0);
  const advice = adviceOn("EVENT_ID_REUSED", false);
  for (const told of [
    /type +caseflow\.case\.created/,
    new RegExp(`subject +case ${caseIds[0]}`),
    /states +draft\n/,
    /by +caseworker \(caseworker\)/,
    /reason +EVENT_ID_REUSED/,
    /detail +the answer was lost/,
    /since +\d{4}-/,
    /waiting +1 later event of the subject/,
    new RegExp(`caseflow dead-letters redrive ${eventIds[0]}\n +${RegExp.escape(advice.redrive)}`),
    new RegExp(`caseflow dead-letters skip ${eventIds[0]} --reason …\n +${RegExp.escape(advice.skip)}`),
    advice.meaning,
  ]) {
    expect(stdout).toMatch(told);
  }
});

test("what is no dead letter is named, and exits 1", async () => {
  const other = v7();
  const told = `caseflow: ${other} is no dead letter: caseflow dead-letters list shows them\n`;
  expect(await run("show", other)).toEqual({ exit: 1, stdout: "", stderr: told });
});

test.each(["list", "show", "redrive", "skip"])("the help of dead-letters %s has examples", (name) => {
  const letters = createProgram(readConfig({})).commands.find((command) => command.name() === "dead-letters");
  const command = letters?.commands.find((found) => found.name() === name);
  let help = "";
  command?.configureOutput({ writeOut: (text) => (help += text) });
  command?.outputHelp();
  expect(help).toMatch(new RegExp(`Examples:\n {2}caseflow dead-letters ${name}`));
});

test("a redrive tells how many it queued and which were none", async () => {
  const other = v7();
  const { exit, stdout } = await run("redrive", eventIds[1].toUpperCase(), other, eventIds[1]);
  expect(stdout).toBe(`Queued again: 1\nNo dead letter: ${other}\n`);
  expect(exit).toBe(1);
});

test("a skip wants a reason, is done once, and says why where it cannot be done", async () => {
  expect(await run("skip", eventIds[0])).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining("--reason"),
  });
  const reason = "ticket 4711";
  const { exit, stdout, stderr } = await run("skip", eventIds[0], "--reason", reason, "--json");
  expect(exit, stderr).toBe(0);
  const { tombstoneEventId } = JSON.parse(stdout);
  const admin = await stage.cases.admin();
  const again = admin.skipDeadLetter({ requestId: randomUUID(), eventId: eventIds[0], reason });
  await expect(again).rejects.toThrow("EVENT_NOT_FOUND");
  await using _relay = await stage.startRelay();
  await expect.poll(async () => (await stage.trailOf(caseIds[0]!)).length).toBe(2);
  expect((await stage.trailOf(caseIds[0]!))[0]?.event).toMatchObject({ eventId: tombstoneEventId, reason });
  const forked = await run("skip", eventIds[2], "--reason", reason);
  expect(forked).toMatchObject({
    exit: 1,
    stderr: expect.stringMatching(/another history there.*HISTORY_FORKED/),
  });
});

test("every reason that the audit service or the relay gives has advice, which says so when a skip is refused", () => {
  const unknown = adviceOn("SOMETHING_NEW", false);
  const reasons = [
    "INVALID_EVENT",
    "SOURCE_NOT_ALLOWED",
    "EVENT_ID_REUSED",
    "DELIVERY_REFUSED",
    "DELIVERY_FAILED",
  ];
  for (const reason of [...reasons, "SEQUENCE_REUSED", "CHAIN_BROKEN"]) {
    expect(adviceOn(reason, false).meaning).not.toBe(unknown.meaning);
    expect(adviceOn(reason, false).skip.startsWith("Refused"), reason).toBe(!reasons.includes(reason));
    expect(adviceOn(reason, true).skip).not.toMatch(/^Refused/);
  }
});
