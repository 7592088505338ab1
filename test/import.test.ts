import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ReportLine } from "#services/cli/import/staging.ts";

import {
  caseflow,
  openFolder,
  type CaseflowTarget,
  type Ended,
  type Folder,
} from "./support/caseflow-command.ts";
import { startCaseService, type CaseServiceFixture } from "./support/case-service.ts";
import { writePermitFile } from "./support/permit-file.ts";

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

async function importer(tenant: string): Promise<CaseflowTarget> {
  return { url: cases.url, token: await cases.token("importer", tenant) };
}

/** Runs an import; returns what it said with its report, in the order of the file. */
async function runImport(
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
  const ended = await caseflow(await importer(tenant), args);
  return { ...ended, report: await folder.lines<ReportLine>(report) };
}

test("the dry run predicts the outcome of every row and writes nothing; a second import applies nothing", async () => {
  await writePermitFile(folder.path("generated.csv"), { rows: 600, seed: 7 });
  const expected = await runImport("twice", "generated.csv", "--dry-run");
  expect(expected.exit, expected.stderr).toBe(0);
  const reader = await cases.as("auditor", "twice");
  expect((await reader.listCases({})).cases).toEqual([]);

  const first = await runImport("twice", "generated.csv");
  expect(first.stdout).toBe(expected.stdout);
  const withoutId = ({ caseId: _, ...line }: ReportLine) => line;
  expect(first.report.map(withoutId)).toEqual(expected.report.map(withoutId));
  expect(first.report.map(({ row }) => row)).toEqual(Array.from({ length: 600 }, (_, at) => at + 1));
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
});
