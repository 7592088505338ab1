import { expect, test } from "vitest";
import { encodeEntryBundle } from "#libs/merkle/entry-bundle.ts";
import { makeCase } from "./support/made-history.ts";
import {
  makeSigner,
  signLog,
  toCheckpointLine,
  toEventLines,
  toExport,
  toMirror,
} from "./support/made-log.ts";
import { bitsOf, flip, judgeBytes, judgeFiles, keep, keysOf, makeSmallLog } from "./support/judged.ts";

/* Whatever is changed of a log that was signed is found, and a log that nobody changed is let pass. */

const signer = makeSigner();
const keys = keysOf(signer);
const entries = makeSmallLog();
const checkpointLine = toCheckpointLine(signLog(entries, signer));
/** An export of these lines under the checkpoint of the log as it was. */
const underOldCheckpoint = (lines: readonly string[]) => [...lines, checkpointLine, ""].join("\n");

test("the log is good as long as nobody changes it", async () => {
  expect(await judgeBytes(toExport(entries, signer), keys)).toBeUndefined();
  expect(await judgeFiles(await toMirror(entries, signer), keys)).toBeUndefined();
  expect(entries).toHaveLength(24);
});

test("a bit turned in any event is found, and the root does not hold", async () => {
  const whole = Buffer.concat(entries);
  for (const bit of bitsOf(whole.length, 150)) {
    const changed = flip(whole, bit);
    let at = 0;
    const events = entries.map(({ length }) => changed.subarray(at, (at += length)));
    const fault = await judgeBytes(underOldCheckpoint(toEventLines(events)), keys);
    expect(fault, `bit ${bit}`).toMatchObject({ kind: "root" });
  }
});

test("a bit turned in an event is told with the place where the history breaks, or the event itself", async () => {
  const leafIndex = 4; // Its history goes on; a change of the last event of one leaves no trace but the root.
  for (const bit of bitsOf(entries[leafIndex]!.length, 40)) {
    const events = entries.with(leafIndex, flip(entries[leafIndex]!, bit));
    const fault = await judgeBytes(underOldCheckpoint(toEventLines(events)), keys);
    const places = fault?.likely?.map(({ place }) => place?.leafIndex ?? Infinity) ?? [];
    expect(Math.min(...places), `bit ${bit}`).toBeLessThan(entries.length);
    expect(Math.min(...places), `bit ${bit}`).toBeGreaterThanOrEqual(leafIndex);
  }
});

test("a bit turned anywhere in an export is found", async () => {
  const whole = Buffer.from(toExport(entries, signer));
  for (const bit of bitsOf(whole.length, 200)) {
    expect(await judgeBytes(flip(whole, bit), keys), `bit ${bit}`).toBeDefined();
  }
});

test("a bit turned in the checkpoint is found before anything else", async () => {
  const note = Buffer.from(signLog(entries, signer));
  const files = await toMirror(entries, signer);
  for (const bit of bitsOf(note.length, 200)) {
    const changed = new Map(files).set("checkpoint", flip(note, bit));
    const fault = await judgeFiles(changed, keys);
    expect(["signature", "unreadable"], `bit ${bit}: ${fault?.what}`).toContain(fault?.kind);
  }
});

test("a bit turned in any entry or tile of a mirror is found", async () => {
  const log = Array.from({ length: 300 }, () => makeCase().act("created", "ann"));
  const files = await toMirror(log, signer);
  expect([...files.keys()].filter((path) => path !== "checkpoint")).toHaveLength(5);
  for (const [path, bytes] of files) {
    if (path === "checkpoint") continue;
    for (const bit of bitsOf(bytes.length, 8)) {
      const fault = await judgeFiles(new Map(files).set(path, flip(bytes, bit)), keys);
      const kinds = path.startsWith("tile/entries/") ? ["inclusion", "gap", "unreadable"] : ["inclusion"];
      expect(kinds, `${path}, bit ${bit}: ${fault?.what}`).toContain(fault?.kind);
    }
  }
});

test("an entry that does not fit its tile is told by its leaf", async () => {
  const log = Array.from({ length: 260 }, () => makeCase().act("created", "ann"));
  const files = await toMirror(log, signer);
  const bundle = encodeEntryBundle([log[256]!, flip(log[257]!, 9), log[258]!, log[259]!]);
  const fault = await judgeFiles(new Map(files).set("tile/entries/001.p/4", bundle), keys);
  expect(fault).toMatchObject({ kind: "inclusion", place: { leafIndex: 257 } });
});

test("entries and tiles that fit each other and not the checkpoint have the wrong root", async () => {
  const other = await toMirror(entries.toReversed(), makeSigner());
  other.set("checkpoint", Buffer.from(signLog(entries, signer)));
  expect(await judgeFiles(other, keys)).toMatchObject({ kind: "root" });
});

const positions = entries.map((_, at) => at);
const stranger = makeCase().act("created", "eve");
const changesAt: readonly (readonly [name: string, change: (at: number) => readonly Uint8Array[]])[] = [
  ["dropped", (at) => entries.toSpliced(at, 1)],
  ["doubled", (at) => entries.toSpliced(at, 0, entries[at]!)],
  [
    "swapped with the next",
    (at) => (at === 23 ? [] : entries.toSpliced(at, 2, entries[at + 1]!, entries[at]!)),
  ],
  ["preceded by another", (at) => entries.toSpliced(at, 0, stranger)],
  ["replaced by another", (at) => entries.with(at, stranger)],
  ["followed by nothing", (at) => entries.slice(0, at)],
];

test.each(changesAt)(
  "an event that is %s, at any position, is found, also when the leaves are counted anew",
  async (_, change) => {
    const lines = toEventLines(entries);
    for (const at of positions) {
      const changed = change(at);
      const renumbered = await judgeBytes(underOldCheckpoint(toEventLines(changed)), keys);
      expect(renumbered?.kind, `at ${at}`).toBe(changed.length === entries.length ? "root" : "gap");
      const asTheyWere = changed.map((entry) => lines[entries.indexOf(entry)] ?? toEventLines([entry])[0]!);
      expect((await judgeBytes(underOldCheckpoint(asTheyWere), keys))?.kind, `at ${at}`).toMatch(/gap|root/);
    }
  },
);

test.each<[name: string, change: (at: number) => readonly Uint8Array[]]>([
  ["dropped", (at) => entries.toSpliced(at, 1)],
  ["doubled", (at) => entries.toSpliced(at, 0, entries[at]!)],
])(
  "an event that is %s by whoever holds the key is found wherever its history goes on",
  async (_, change) => {
    let found = 0;
    for (const at of positions) {
      const fault = await judgeBytes(toExport(change(at), signer), keys);
      if (fault) expect(["gap", "rule"]).toContain(fault.kind);
      if (fault) found += 1;
    }
    // The last event of each of three histories leaves no trace when it is dropped; a checkpoint kept from before does it.
    expect(found).toBeGreaterThanOrEqual(positions.length - 3);
  },
);

test("what whoever holds the key changes is found by a checkpoint kept from before, wherever it is", async () => {
  const kept = keep(entries, signer);
  for (const [name, change] of changesAt) {
    for (const at of positions) {
      const changed = change(at);
      const log = [...changed, ...Array.from({ length: 3 }, () => makeCase().act("created", "ann"))];
      const isSame = entries.every((entry, leafIndex) => log[leafIndex] === entry); // What was added stands behind.
      const fault = await judgeBytes(toExport(log, signer), keys, { kept });
      expect(fault?.kind, `${name} at ${at}`).toBe(isSame ? "gap" : "fork");
    }
  }
});

test("a log that goes on from what was kept is good, as it is and longer", async () => {
  const kept = keep(entries, signer);
  expect(await judgeBytes(toExport(entries, signer), keys, { kept })).toBeUndefined();
  const longer = [...entries, makeCase().act("created", "ann")];
  expect(await judgeBytes(toExport(longer, signer), keys, { kept })).toBeUndefined();
  expect(await judgeFiles(await toMirror(longer, signer), keys, { kept })).toBeUndefined();
  const shorter = entries.slice(0, -1);
  expect(await judgeBytes(toExport(shorter, signer), keys, { kept })).toMatchObject({
    kind: "fork",
    what: "The log is shorter than when it was last verified.",
  });
});

test("a log signed by another key, or of another log, is not this one", async () => {
  const other = makeSigner();
  expect(await judgeBytes(toExport(entries, other), keys)).toMatchObject({ kind: "signature" });
  const elsewhere = makeSigner("log.example/other");
  expect(await judgeBytes(toExport(entries, elsewhere), keysOf(elsewhere))).toMatchObject({
    kind: "rule",
    expected: "other",
    found: "acme",
  });
});

test("an empty log is a good one", async () => {
  expect(await judgeBytes(toExport([], signer), keys)).toBeUndefined();
  expect(await judgeFiles(await toMirror([], signer), keys)).toBeUndefined();
});
