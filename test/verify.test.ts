import { readdir, readFile, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { proveInclusion } from "#libs/merkle/prove.ts";
import { readFrom, tilesInMemory } from "#libs/merkle/tiles-in-memory.ts";
import { formatTlogProof } from "#libs/merkle/tlog-proof.ts";
import { caseflow as caseflowProcess, type Ended, openFolder } from "./support/caseflow-command.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { after, underReview } from "./support/made-cases.ts";
import { makeCase } from "./support/made-history.ts";
import {
  makeSigner,
  signLog,
  toCheckpointLine,
  toEventLines,
  toExport,
  toMirror,
  writeMirror,
} from "./support/made-log.ts";
import { flip, makeSmallLog } from "./support/judged.ts";
import { serveFiles } from "./support/static-server.ts";

/* What `caseflow verify` says, where, and with which exit code. */

const signer = makeSigner();
const entries = makeSmallLog();
const caseflow = (...args: readonly string[]): Promise<Ended> => commandInProcess(args);
const verify = (source: string, ...more: readonly string[]) =>
  caseflow("verify", source, "--vkey", signer.vkey, ...more);

test("a good log is summed up in one line, as an export, a folder and a URL", async () => {
  await using folder = await openFolder();
  const files = await toMirror(entries, signer);
  await writeFile(folder.path("log.ndjson"), toExport(entries, signer));
  await writeMirror(folder.path("mirror"), files);
  await using server = await serveFiles(files);
  const root = signLog(entries, signer).split("\n")[2];
  for (const source of [folder.path("log.ndjson"), folder.path("mirror"), server.url]) {
    const { exit, stdout, stderr } = await verify(source);
    expect(stderr).toMatch(/^note: 1 event was given up and never told/m);
    expect(stdout).toBe(`events=24 subjects=4 size=24 root=${root} checkpoint of log.example/acme\n`);
    expect(exit).toBe(0);
  }
  const { stdout } = await verify(folder.path("log.ndjson"), "--json");
  expect(JSON.parse(stdout)).toMatchObject({
    verified: true,
    exit: 0,
    kind: "log",
    events: 24,
    subjects: 4,
    tombstones: 1,
    checkpoint: { origin: "log.example/acme", size: 24, root, note: signLog(entries, signer) },
  });
});

/** Of an event, by itself. */
async function proofOf(leafIndex: number): Promise<string> {
  const readTile = readFrom(tilesInMemory(entries.map((entry) => hashLeaf(entry))));
  return formatTlogProof({
    index: leafIndex,
    hashes: await proveInclusion(leafIndex, entries.length, readTile),
    checkpoint: signLog(entries, signer),
    extra: entries[leafIndex]!,
  });
}

/** Of the events at these leaves. */
async function historyOf(leaves: readonly number[]): Promise<string> {
  const readTile = readFrom(tilesInMemory(entries.map((entry) => hashLeaf(entry))));
  const lines = leaves.map(async (leafIndex) => {
    const proof = await proveInclusion(leafIndex, entries.length, readTile);
    return JSON.stringify({
      leafIndex,
      event: encodeBase64(entries[leafIndex]!),
      proof: proof.map(encodeBase64),
    });
  });
  return [...(await Promise.all(lines)), toCheckpointLine(signLog(entries, signer)), ""].join("\n");
}

test("a proof of one event is verified by itself, and a history by its proofs", async () => {
  await using folder = await openFolder();
  await writeFile(folder.path("a.tlog-proof"), await proofOf(7));
  await writeFile(folder.path("b.history"), await historyOf([0, 4, 7]));
  const proof = await verify(folder.path("a.tlog-proof"));
  expect(proof.stdout).toMatch(
    /^event=[0-9a-f-]{36} leaf=7 size=24 root=\S{44} checkpoint of log.example\/acme\n$/,
  );
  const history = await verify(folder.path("b.history"));
  expect(history.stdout).toMatch(/^events=3 subjects=1 size=24 /);
  expect([proof.exit, history.exit]).toEqual([0, 0]);
});

const lines = toEventLines(entries);
const checkpointLine = toCheckpointLine(signLog(entries, signer));
const selfApproved = after(underReview(), ["approved", "ben"]);

/** By exit code: what is verified, and what standard error says. */
const faults: readonly (readonly [
  exit: number,
  name: string,
  text: () => Promise<string> | string,
  told: readonly RegExp[],
])[] = [
  [
    3,
    "a torn export",
    () => `${lines.join("\n")}\n`,
    [/cannot be read \(3\)/, /ends without its checkpoint/],
  ],
  [
    3,
    "a proof without its event",
    async () => (await proofOf(7)).replace(/^extra.*\n/m, ""),
    [/has no event in it/],
  ],
  [
    10,
    "an export that another key signed",
    () => toExport(entries, makeSigner()),
    [/signature does not hold \(10\)/, /not signed by any of the keys/],
  ],
  [
    11,
    "an export with a changed event",
    () => [...toEventLines(entries.with(4, flip(entries[4]!, 400))), checkpointLine, ""].join("\n"),
    [
      /not what was signed \(11\)/,
      /expected: root /,
      /the change may be here:\n.*\n\s+where: {4}leaf [48], subject/,
    ],
  ],
  [
    12,
    "a proof with another event",
    async () => (await proofOf(7)).replace(/^extra.*$/m, `extra ${encodeBase64(entries[8]!)}`),
    [/\(12\)/, /leaf 7/],
  ],
  [
    12,
    "a history with another's proof",
    async () => (await historyOf([0, 4])).replace('"leafIndex":4', '"leafIndex":5'),
    [/\(12\)/, /leaf 5/],
  ],
  [
    13,
    "an export that lacks a line",
    () => [...lines.toSpliced(5, 1), checkpointLine, ""].join("\n"),
    [/\(13\)/, /Leaf 5 of the log is missing/, /expected: leaf 5/, /found: {4}leaf 6/],
  ],
  [
    13,
    "a history that lacks an event",
    () => historyOf([0, 7]),
    [/Event 2 of this history is missing/, /sequence 3, event [0-9a-f-]{36}/],
  ],
  [
    14,
    "a log whose keeper changed an event and signed anew",
    () => {
      const made = makeCase();
      made.act("created", "ann");
      made.act("submitted", "ann", { previousDigest: new Uint8Array(32) });
      return toExport(made.entries, signer);
    },
    [
      /a history was cut and joined \(14\)/,
      /behind another one than stands before it at leaf 0/,
      /leaf 1, subject [0-9a-f-]{36}, sequence 2/,
    ],
  ],
  [
    15,
    "a log in which somebody approved their own case",
    () => toExport(selfApproved, signer),
    [
      /a rule was broken \(15\)/,
      /ben approved a case that ben had submitted/,
      /leaf 5, subject .*, sequence 6, event .*, told by caseflow\/case/,
    ],
  ],
];

test.each(faults)(
  "exit %i tells of %s, and standard error of the first fault",
  async (exit, _, text, told) => {
    await using folder = await openFolder();
    await writeFile(folder.path("source"), await text());
    const ended = await verify(folder.path("source"));
    expect(ended.stderr).toMatch(/^NOT VERIFIED: /m);
    for (const words of told) expect(ended.stderr).toMatch(words);
    expect(ended.stdout).toBe("");
    expect(ended.exit).toBe(exit);
  },
);

test("with --json the fault is one line on standard output too", async () => {
  await using folder = await openFolder();
  await writeFile(folder.path("source"), toExport(selfApproved, signer));
  const { exit, stdout } = await verify(folder.path("source"), "--json");
  expect(JSON.parse(stdout)).toMatchObject({
    verified: false,
    exit: 15,
    fault: { kind: "rule", place: { leafIndex: 5, sequence: "6" } },
  });
  expect(exit).toBe(15);
});

test.each<[name: string, args: readonly string[], told: RegExp]>([
  ["no key", [], /required option '--vkey <key>'/],
  ["a key that is none", ["--vkey", "log.example/acme+00000000+AQ=="], /no verifier key/],
  [
    "keys of two logs",
    ["--vkey", signer.vkey, "--vkey", makeSigner("log.example/other").vkey],
    /different logs/,
  ],
  ["a key and a word too many", ["--vkey", signer.vkey, "another"], /too many arguments/],
])("%s is not understood", async (_, args, told) => {
  const { exit, stderr } = await caseflow("verify", "somewhere", ...args);
  expect(stderr).toMatch(told);
  expect(exit).toBe(2);
});

test("a log signed by an old key or a new one is good to whoever knows both", async () => {
  await using folder = await openFolder();
  await writeFile(folder.path("old"), toExport(entries, makeSigner()));
  const next = makeSigner();
  await writeFile(folder.path("new"), toExport(entries, next));
  const both = (source: string) => caseflow("verify", source, "--vkey", signer.vkey, "--vkey", next.vkey);
  expect((await both(folder.path("new"))).exit).toBe(0);
  expect((await both(folder.path("old"))).exit).toBe(10);
});

test("a state file keeps the last good checkpoint, and refuses a log that is cut short or rewritten", async () => {
  await using folder = await openFolder();
  const [source, state] = [folder.path("log"), folder.path("state")];
  const attempt = async (log: readonly Uint8Array[]) => {
    await writeFile(source, toExport(log, signer));
    const { exit, stderr } = await verify(source, "--state", state);
    return { exit, stderr, kept: await readFile(state, "utf8").catch(() => "none") };
  };
  const early = entries.slice(0, 20);
  expect(await attempt(selfApproved)).toMatchObject({ exit: 15, kept: "none" });
  expect(await attempt(early)).toMatchObject({ exit: 0, kept: signLog(early, signer) });
  expect(await attempt(entries)).toMatchObject({ exit: 0, kept: signLog(entries, signer) });
  const rollback = await attempt(early);
  expect(rollback).toMatchObject({ exit: 16, kept: signLog(entries, signer) });
  expect(rollback.stderr).toMatch(
    /shorter than when it was last verified[^]*expected: at least 24 events\n {2}found: {4}20 events/,
  );
  const rewritten = await attempt([
    ...entries.slice(0, 23),
    makeCase().act("created", "eve"),
    makeCase().act("created", "eve"),
  ]);
  expect(rewritten).toMatchObject({ exit: 16, kept: signLog(entries, signer) });
  expect(rewritten.stderr).toMatch(/The first 24 events are not those of the last verification/);
  expect(await readdir(folder.path("."))).toEqual(["log", "state"]);
});

test("a state file that is torn or of another key is never taken for none", async () => {
  await using folder = await openFolder();
  const [source, state] = [folder.path("log"), folder.path("state")];
  await writeFile(source, toExport(entries, signer));
  const kept = signLog(entries, signer);
  for (const torn of [kept.slice(0, 60), kept.slice(0, -3), "", signLog(entries, makeSigner())]) {
    await writeFile(state, torn);
    const { exit, stderr } = await verify(source, "--state", state);
    expect(stderr).toMatch(/Without it nothing tells whether the log was rewritten/);
    expect(exit).toBe(3);
    expect(await readFile(state, "utf8")).toBe(torn);
  }
});

test("a state that cannot be kept is told, and the log is not called good", async () => {
  await using folder = await openFolder();
  await writeFile(folder.path("log"), toExport(entries, signer));
  const { exit, stdout } = await verify(folder.path("log"), "--state", folder.path("missing/state"));
  expect(stdout).toBe("");
  expect(exit).toBe(1);
});

test("a proof is no whole log to keep a state of", async () => {
  await using folder = await openFolder();
  await writeFile(folder.path("a"), await proofOf(1));
  const { exit, stderr } = await verify(folder.path("a"), "--state", folder.path("state"));
  expect(stderr).toMatch(/--state asks for a whole log/);
  expect(exit).toBe(2);
});

test("the command as a process tells by its exit code, and asks no service", async () => {
  await using folder = await openFolder();
  const nowhere = { url: "http://127.0.0.1:1", token: "none" };
  await writeFile(folder.path("good"), toExport(entries, signer));
  await writeFile(folder.path("bad"), toExport(selfApproved, signer));
  const endings = ["good", "bad", "nowhere"].map((name) =>
    caseflowProcess(nowhere, ["verify", folder.path(name), "--vkey", signer.vkey]),
  );
  const [good, bad, absent] = await Promise.all(endings);
  expect(good).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^events=24 [^\n]*\n$/) });
  expect(bad).toMatchObject({ exit: 15, stdout: "", stderr: expect.stringContaining("ben approved") });
  expect(absent).toMatchObject({ exit: 3, stdout: "" });
  expect(await caseflowProcess(nowhere, ["verify", folder.path("good")])).toMatchObject({
    exit: 2,
    stdout: "",
  });
});
