import { randomUUID } from "node:crypto";
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import type { Stack } from "#libs/client/stack.ts";

import { npmStart, processesOf, run, untilGone, untilReady } from "./support/local-stack.ts";
import { untilSealed } from "./support/signing.ts";
import { makeTemporaryHome, type TemporaryHome } from "./support/temporary-home.ts";
import { waitUntil } from "./support/wait-until.ts";

/** A test may start a stack three times, on a machine that does other things too. */
const patienceMs = 120_000;
const ctrlC = "\x03";

/** Of one test after the other: a start finds what the test before left, but for the first. Each start ends in a way of its own. */
let temporary: TemporaryHome;
let home: string;
/** With which the log was signed before it was forgotten. */
let keysBefore: readonly string[];
beforeAll(async () => {
  temporary = await makeTemporaryHome();
  home = temporary.path;
});
afterAll(() => temporary[Symbol.asyncDispose]());

test("a signal while the stack is starting stops it too, and exits 0", { timeout: patienceMs }, async () => {
  await using starting = npmStart({ home });
  await vi.waitFor(() => expect(starting.output()).toContain("migrations"), { timeout: 45_000 });
  starting.kill("SIGTERM");
  expect(await starting.ended, starting.output()).toBe(0);
  expect(starting.output()).not.toContain("Ready.");
  await expectStopped();
});

test(
  "SIGTERM, or one Ctrl-C in a terminal, stops everything and exits 0, and data survives a restart",
  { timeout: patienceMs },
  async () => {
    await using first = npmStart({ home });
    const started = await untilReady(home, first);
    const caseId = await createCase(started);
    const log = await readLog(started, 1);
    first.kill("SIGTERM");
    expect(await first.ended).toBe(0);
    await expectStopped();

    await using terminal = openTerminal();
    const again = await untilReady(home, terminal);
    expect(await isThere(again, caseId)).toBe(true);
    await createCase(again);
    expect(await readLog(again, 2), "one more event, signed with the same key").toEqual({
      ...log,
      size: log.size + 1,
    });
    terminal.write(ctrlC);
    expect(await terminal.ended, terminal.output()).toBe(0);
    expect(terminal.output()).toContain("Stopped. The data stays.");
    await expectStopped();
    keysBefore = log.keys;
  },
);

test(
  "--reset forgets the data, and a second SIGTERM to npm does not wait for a service that hangs, and exits 143",
  { timeout: patienceMs },
  async () => {
    await using starting = npmStart({ home }, "--reset");
    const empty = await untilReady(home, starting);
    expect(await listCases(empty)).toEqual([]);
    await createCase(empty);
    const anew = await readLog(empty, 1);
    expect(anew.size, "a log that has begun anew").toBe(1);
    expect(anew.keys).not.toEqual(keysBefore);
    await secondSignal(empty, starting, () => starting.kill("SIGTERM"));
    expect(await starting.ended, starting.output()).toBe(143);
    process.kill(empty.case.pid, "SIGCONT");
    await untilGone(home);
  },
);

test(
  "a second Ctrl-C does not wait for a service that hangs, and exits 130",
  { timeout: patienceMs },
  async () => {
    await using terminal = openTerminal();
    const stack = await untilReady(home, terminal);
    await secondSignal(stack, terminal, () => terminal.write(ctrlC));
    expect(await terminal.ended, terminal.output()).toBe(130);
    process.kill(stack.case.pid, "SIGCONT");
    await untilGone(home);
  },
);

test(
  "a killed npm, stack or service takes all with it, and the next start works",
  { timeout: patienceMs },
  async () => {
    await using first = npmStart({ home });
    const caseId = await createCase(await untilReady(home, first));
    first.kill("SIGKILL");
    await first.ended;
    await untilGone(home);

    await using second = npmStart({ home });
    expect(await isThere(await untilReady(home, second), caseId)).toBe(true);
    process.kill(await stackProcess(), "SIGKILL");
    await second.ended;

    await using third = npmStart({ home }); // At once: what is still ending is waited for.
    const stack = await untilReady(home, third);
    expect(await isThere(stack, caseId)).toBe(true);
    process.kill(stack.audit.pid, "SIGKILL");
    expect(await third.ended, "the stack says which service died").toBe(1);
    expect(third.output()).toMatch(
      /the audit service ended by SIGKILL; it said:\n {2}starting\n {2}listening\n/,
    );
    await expectStopped();
  },
);

function openTerminal() {
  return run("script", ["-qefc", "exec npm start", "/dev/null"], { home });
}

/** Signals once, with a service that cannot stop, so that the second signal finds the stack still stopping. */
async function secondSignal(
  stack: Stack,
  { output }: { output: () => string },
  signal: () => void,
): Promise<void> {
  process.kill(stack.case.pid, "SIGSTOP");
  signal();
  await vi.waitFor(() => expect(output()).toContain("Stopping …"), { timeout: 10_000 });
  signal();
}

async function expectStopped(): Promise<void> {
  await untilGone(home);
  await expect(access(join(home, "stack.json"))).rejects.toHaveProperty("code", "ENOENT");
}

/** The process that runs the stack. */
async function stackProcess(): Promise<number> {
  for (const pid of await processesOf(home)) {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (command.startsWith("node\0services/local/start.ts\0")) return pid;
  }
  throw new Error("the stack's process is not there");
}

async function createCase(stack: Stack): Promise<string> {
  await using cases = createCaseClient({ url: stack.case.url, token: stack.tokens.caseworker ?? "" });
  const { case: created } = await cases.createCase({ requestId: randomUUID(), caseType: "t", content: {} });
  return created?.caseId ?? "";
}

/** How long the tenant's log is once so many events are there and all are signed, and with which keys they were. */
async function readLog(stack: Stack, events: number): Promise<{ size: number; keys: readonly string[] }> {
  await using audit = createAuditClient({ url: stack.audit.url, token: stack.tokens.auditor ?? "" });
  await waitUntil(async () => (await audit.listEvents({})).events.length === events);
  const { checkpoint, verifierKeys: keys } = await untilSealed(audit);
  return { size: Number(checkpoint.split("\n")[1]), keys };
}

async function isThere(stack: Stack, caseId: string): Promise<boolean> {
  return (await listCases(stack)).some((one) => one.caseId === caseId);
}

async function listCases(stack: Stack) {
  await using cases = createCaseClient({ url: stack.case.url, token: stack.tokens.caseworker ?? "" });
  return (await cases.listCases({})).cases;
}
