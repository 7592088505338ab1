import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { readCases } from "#services/cli/read-cases.ts";

import { type Ended, openFolder, type Folder } from "./support/caseflow-command.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import {
  openCase,
  type people,
  setPolicy,
  startCaseService,
  type CaseServiceFixture,
  type Stage,
} from "./support/case-service.ts";
import { writePermitFile } from "./support/permit-file.ts";

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

async function caseflow(person: keyof typeof people, tenant: string, ...args: string[]): Promise<Ended> {
  return commandInProcess(args, { CASE_URL: cases.url, CASEFLOW_TOKEN: await cases.token(person, tenant) });
}

async function run(person: keyof typeof people, tenant: string, ...args: string[]): Promise<string> {
  const { exit, stdout, stderr } = await caseflow(person, tenant, ...args);
  expect(exit, stderr).toBe(0);
  return stdout;
}

async function exportOf(tenant: string): Promise<string> {
  const path = folder.path(`${tenant}.ndjson`);
  await run("auditor", tenant, "export", "--out", path);
  return readFile(path, "utf8");
}

/** What cases came to, without what the service made anew. */
async function statesOf(tenant: string): Promise<unknown[]> {
  const described: string[] = [];
  for await (const found of readCases(await cases.as("auditor", tenant), {})) {
    const { state, creatorId, submitterId, approverIds, rejecterId, overriderIds, firstDecision } = found;
    const { appeal, caseType, externalReference, approvalsRequired } = found;
    const outcome = {
      appellant: appeal?.appellantId,
      reviewer: appeal?.reviewerId,
      outcome: appeal?.outcome,
    };
    const facts = { state, creatorId, submitterId, approverIds, rejecterId, overriderIds, firstDecision };
    described.push(JSON.stringify({ ...facts, ...outcome, caseType, externalReference, approvalsRequired }));
  }
  return described.toSorted();
}

const stages: readonly Stage[] = [
  ...(["draft", "submitted", "assigned", "under_review", "approved", "rejected", "appealed"] as const),
  ...(["appeal_under_review", "appeal_approved", "appeal_rejected", "closed"] as const),
];

test("an export imported into an empty tenant gives the same states, and its export the same bytes", async () => {
  for (const tenant of ["first", "second"]) await setPolicy(cases, "two_eyes", tenant);
  for (const stage of stages) {
    for (const caseType of ["permit", "two_eyes"]) await openCase(cases, stage, "first", caseType);
  }
  const overridden = await openCase(cases, "approved", "first", "two_eyes");
  const words = { targetState: CaseState.REJECTED, reason: "wrong", legalAuthority: "Act 1" };
  for (const person of ["supervisor", "supervisor2"] as const) {
    const supervisor = await cases.as(person, "first");
    await supervisor.overrideDecision({ requestId: randomUUID(), caseId: overridden, ...words });
  }
  const admin = await cases.admin("first");
  const erased = await openCase(cases, "closed", "first");
  await admin.eraseCase({
    requestId: randomUUID(),
    caseId: erased,
    reason: "asked for",
    legalBasis: "Act 3",
  });

  const exported = await exportOf("first");
  const args = ["import", folder.path("first.ndjson")];
  const expected = await run("importer", "second", ...args, "--dry-run");
  expect(expected).toMatch(/^applied=\d+ skipped=0 failed=0\n$/);
  expect(await run("importer", "second", ...args)).toBe(expected);
  expect(await statesOf("second")).toEqual(await statesOf("first"));
  expect(await exportOf("second")).toBe(exported);
  expect(await run("importer", "second", ...args)).toMatch(/^applied=0 skipped=\d+ failed=0\n$/);
});

test("what was imported is exported, with its own times and people, and on standard output alike", async () => {
  await writePermitFile(folder.path("generated.csv"), { rows: 30, seed: 21 });
  const mapping = ["--mapping", "services/cli/import/permits.yaml"];
  await run("importer", "third", "import", folder.path("generated.csv"), ...mapping);
  const exported = await exportOf("third");
  expect(await run("auditor", "third", "export")).toBe(exported);
  await run("importer", "fourth", "import", folder.path("third.ndjson"));
  expect(await exportOf("fourth")).toBe(exported);
  const [line = ""] = exported.split("\n");
  expect(Object.keys(JSON.parse(line))).toEqual(["actor", "case", "command", "occurredAt", "policy", "row"]);
  expect(line).toMatch(/"occurredAt":"2011-/);
});

test("a case decided under other rules than the tenant has is refused whole, rather than decided otherwise", async () => {
  await setPolicy(cases, "strict", "fifth");
  await openCase(cases, "approved", "fifth", "strict");
  await exportOf("fifth");
  const { stdout, stderr } = await caseflow("importer", "sixth", "import", folder.path("fifth.ndjson"));
  expect(stdout).toBe("applied=0 skipped=0 failed=6\n");
  expect(stderr).toContain("POLICY_DIFFERS");
});
