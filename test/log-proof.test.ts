import { readFile, stat, writeFile } from "node:fs/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { type Ended, type Folder, openFolder } from "./support/caseflow-command.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { appealDecided } from "./support/made-cases.ts";
import { makeCase } from "./support/made-history.ts";
import { interleave } from "./support/judged.ts";
import { makeSigning, untilSealed, type Signing } from "./support/signing.ts";

/* Proofs that a service gives, kept as files, and verified without it. */

let signing: Signing;
let audit: AuditServiceFixture;
let folder: Folder;
let vkey: string;
let env: Record<string, string>;
const made = appealDecided();
const other = appealDecided();

beforeAll(async () => {
  signing = await makeSigning();
  audit = await startAuditService({ signing });
  folder = await openFolder();
  const token = await audit.issuer.token({ tenant: "acme", sub: "auditor", roles: ["auditor"] });
  env = { AUDIT_URL: audit.url, CASEFLOW_TOKEN: token };
  const source = await audit.source(["caseflow/case"]);
  await source.recordEvents({ events: [...interleave([other.entries, made.entries])] });
  await untilSealed(await audit.auditor());
  [vkey = ""] = await signing.vkeys("acme");
});
afterAll(async () => {
  await folder[Symbol.asyncDispose]();
  await audit[Symbol.asyncDispose]();
  await signing[Symbol.asyncDispose]();
});

const log = (...args: readonly string[]): Promise<Ended> => commandInProcess(["log", ...args], env);
const verify = (file: string, key = vkey): Promise<Ended> =>
  commandInProcess(["verify", folder.path(file), "--vkey", key]);
const idOf = (entry: Uint8Array | undefined) => fromBinary(EventSchema, entry!).eventId;

test("the log's keys are told, with the advice to compare them", async () => {
  const { exit, stdout, stderr } = await log("vkey");
  expect(stdout).toBe(`${vkey}\n`);
  expect(stderr).toMatch(/compare these keys over another channel/);
  expect(exit).toBe(0);
  expect(JSON.parse((await log("vkey", "--json")).stdout)).toEqual({ keys: [vkey] });
});

test("the proof of an event holds the event, and anybody with the key can verify it", async () => {
  const eventId = idOf(made.entries[5]);
  const ended = await log("proof", eventId, "--out", folder.path("one.tlog-proof"), "--vkey", vkey);
  expect(ended, ended.stderr).toMatchObject({ exit: 0, stdout: "", stderr: "" });
  expect((await stat(folder.path("one.tlog-proof"))).mode & 0o777).toBe(0o600);
  const verified = await verify("one.tlog-proof");
  expect(verified.stdout).toMatch(
    new RegExp(`^event=${eventId} leaf=11 size=22 root=\\S+ checkpoint of test.example/log/acme\n$`),
  );
  const [, wrong = ""] = await twoKeys();
  expect((await verify("one.tlog-proof", wrong)).exit).toBe(10);
});

async function twoKeys(): Promise<string[]> {
  await using elsewhere = await makeSigning();
  return [vkey, ...(await elsewhere.vkeys("acme"))];
}

test("without --out the proof goes to standard output, and without --vkey it is said whose keys were believed", async () => {
  const { stdout, stderr, exit } = await log("proof", idOf(made.entries[0]));
  expect(stdout).toMatch(/^c2sp\.org\/tlog-proof@v1\nextra /);
  expect(stderr).toMatch(/the keys are those that the service itself tells/);
  expect(exit).toBe(0);
});

test("a case's history is proved whole, and nothing of another case is shown", async () => {
  const ended = await log("proof", "--subject", made.id, "--out", folder.path("case.ndjson"), "--vkey", vkey);
  expect(ended, ended.stderr).toMatchObject({ exit: 0 });
  expect((await verify("case.ndjson")).stdout).toMatch(/^events=11 subjects=1 size=22 /);
  const text = await readFile(folder.path("case.ndjson"), "utf8");
  const events = text.split("\n").flatMap((line) => /"event":"([^"]+)"/.exec(line)?.[1] ?? []);
  expect(events.map((event) => Buffer.from(event, "base64"))).toEqual(
    made.entries.map((entry) => Buffer.from(entry)),
  );
});

test("a history up to a decision ends with the decision", async () => {
  const eventId = idOf(made.entries[5]);
  const ended = await log(
    "proof",
    eventId,
    "--history",
    "--out",
    folder.path("up-to.ndjson"),
    "--vkey",
    vkey,
  );
  expect(ended, ended.stderr).toMatchObject({ exit: 0 });
  expect((await verify("up-to.ndjson")).stdout).toMatch(/^events=6 subjects=1 size=22 /);
});

test("a history without its beginning, its middle or a true event does not hold", async () => {
  await log("proof", "--subject", made.id, "--out", folder.path("whole.ndjson"), "--vkey", vkey);
  const lines = (await readFile(folder.path("whole.ndjson"), "utf8")).split("\n");
  const stranger = Buffer.from(makeCase().act("created", "eve")).toString("base64");
  for (const [exit, changed] of [
    [13, lines.toSpliced(0, 1)],
    [13, lines.toSpliced(4, 1)],
    [13, lines.toSpliced(3, 2, lines[4]!, lines[3]!)],
    [12, lines.with(4, lines[4]!.replace(/"event":"[^"]+"/, `"event":"${stranger}"`))],
    [0, lines.toSpliced(10, 1)], // That no event follows cannot be proved.
  ] as const) {
    await writeFile(folder.path("changed.ndjson"), changed.join("\n"));
    expect((await verify("changed.ndjson")).exit).toBe(exit);
  }
});

test("what does not hold under the keys given is not written", async () => {
  const [, wrong = ""] = await twoKeys();
  const { exit, stderr } = await log(
    "proof",
    idOf(made.entries[0]),
    "--out",
    folder.path("none"),
    "--vkey",
    wrong,
  );
  expect(stderr).toMatch(/not signed by any of the keys/);
  expect(exit).toBe(10);
  await expect(stat(folder.path("none"))).rejects.toThrow("ENOENT");
});

test.each<[name: string, args: readonly string[], exit: number, told: RegExp]>([
  ["neither event nor subject", [], 2, /name an event, or a subject/],
  ["both", ["019b0000-0000-7000-8000-000000000001", "--subject", "x"], 2, /name an event, or a subject/],
  ["what is no id", ["one"], 2, /no id of an event/],
  [
    "an event that is not there",
    ["019b0000-0000-7000-8000-000000000001"],
    1,
    /EVENT_NOT_FOUND|no such event|not_found/,
  ],
  ["a subject that is not there", ["--subject", "nobody"], 1, /no signed event of the subject nobody/],
])("a proof of %s is refused", async (_, args, exit, told) => {
  const ended = await log("proof", ...args, "--vkey", vkey);
  expect(ended.stderr).toMatch(told);
  expect(ended.exit).toBe(exit);
});
