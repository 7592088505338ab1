import { expect, test } from "vitest";

import { openFolder, startCaseflow } from "./support/caseflow-command.ts";
import { startCaseService } from "./support/case-service.ts";
import { writePermitFile } from "./support/permit-file.ts";

/** `CASEFLOW_IMPORT_ROWS=200000` measures a large file; the report tells what it took. */
const rowsMany = Number(process.env["CASEFLOW_IMPORT_ROWS"] ?? 12_000);
const rowsFew = 2_000;
/** Of the run itself, which asks the service for each row. */
const rowsWritten = 700;
const kibMax = 300 * 1_024;
/** What the collector leaves lying about, and the cache of the sorted rows, which has a limit of its own. */
const slackKib = 60 * 1_024;

test("an import's memory does not grow with its file", async () => {
  await using folder = await openFolder();
  await using cases = await startCaseService({ config: { relay: "off" } });
  const target = { url: cases.url, token: await cases.token("importer") };
  const peakKib = async (rows: number, ...how: string[]): Promise<number> => {
    const file = folder.path(`${rows}.csv`);
    await writePermitFile(file, { rows, seed: 9 });
    const options = [
      "--mapping",
      "services/cli/import/permits.yaml",
      "--report",
      folder.path("report.ndjson"),
    ];
    const preload = ["--import", "./test/support/print-peak-memory.ts"];
    const running = startCaseflow(target, ["import", file, ...options, ...how], preload);
    const { exit, stdout, stderr } = await running.ended;
    expect(exit, stderr).toBe(0);
    const counts = /^applied=(\d+) skipped=(\d+) failed=(\d+)\n$/.exec(stdout)?.slice(1) ?? [];
    expect(counts.reduce((sum, count) => sum + Number(count), 0)).toBe(rows);
    const kib = Number(/peak (\d+) KiB/.exec(stderr)?.[1]);
    process.stderr.write(`${rows} rows: at most ${Math.round(kib / 1_024)} MiB\n`);
    return kib;
  };
  const few = await peakKib(rowsFew, "--dry-run");
  const many = await peakKib(rowsMany, "--dry-run");
  const writing = await peakKib(rowsWritten);
  expect(many).toBeLessThan(kibMax);
  expect(many - few).toBeLessThan(slackKib);
  expect(writing - few).toBeLessThan(slackKib);
}, 900_000);
