import { expect, test } from "vitest";
import { openFolder, startCaseflow } from "./support/caseflow-command.ts";
import { writeLargeExport } from "./support/large-log.ts";
import { makeSigner } from "./support/made-log.ts";

/** `CASEFLOW_VERIFY_EVENTS=1000000` measures a large log; the report tells what it took. */
const eventsMany = Number(process.env["CASEFLOW_VERIFY_EVENTS"] ?? 20_000);
const eventsFew = 2_000;
const kibMax = 300 * 1_024;
/** What the collector leaves lying about, and the cache of what is remembered, which has a limit of its own. */
const slackKib = 60 * 1_024;

test("a verification's memory does not grow with the log", async () => {
  await using folder = await openFolder();
  const signer = makeSigner();
  const peakKib = async (events: number): Promise<number> => {
    const file = folder.path(`${events}.ndjson`);
    const written = await writeLargeExport(file, events, signer);
    const preload = ["--import", "./test/support/print-peak-memory.ts"];
    const nowhere = { url: "http://127.0.0.1:1", token: "none" };
    const startedAt = performance.now();
    const { exit, stdout, stderr } = await startCaseflow(
      nowhere,
      ["verify", file, "--vkey", signer.vkey],
      preload,
    ).ended;
    expect(exit, stderr).toBe(0);
    expect(stdout).toMatch(new RegExp(`^events=${written} subjects=${written / 11} size=${written} `));
    const kib = Number(/peak (\d+) KiB/.exec(stderr)?.[1]);
    const seconds = (performance.now() - startedAt) / 1_000;
    process.stderr.write(
      `${written} events: at most ${Math.round(kib / 1_024)} MiB, ${seconds.toFixed(1)} s\n`,
    );
    return kib;
  };
  const few = await peakKib(eventsFew);
  const many = await peakKib(eventsMany);
  expect(many).toBeLessThan(kibMax);
  expect(many - few).toBeLessThan(slackKib);
}, 1_800_000);
