import { mkdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { signNote } from "#libs/merkle/signed-note.ts";
import { Unverified } from "#services/cli/verify/fault.ts";
import { judgeMirror } from "#services/cli/verify/judge-mirror.ts";
import { judgePath } from "#services/cli/verify/judge-source.ts";
import { readFolder, readUrl } from "#services/cli/verify/mirror-files.ts";
import { lineBytesMax } from "#services/cli/verify/read-lines.ts";
import { tellFault } from "#services/cli/verify/tell-fault.ts";
import { openFolder } from "./support/caseflow-command.ts";
import { created, judgeEntries } from "./support/made-cases.ts";
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
import { judgeBytes, keysOf, makeSmallLog } from "./support/judged.ts";
import { serveFiles, type Spoil } from "./support/static-server.ts";

/* Whoever wrote what is verified may want to harm whoever verifies it. */

const signer = makeSigner();
const keys = keysOf(signer);
const entries = makeSmallLog();
const [firstLine = "", secondLine = "", ...otherLines] = toEventLines(entries);
const checkpointLine = toCheckpointLine(signLog(entries, signer));
const event = (JSON.parse(firstLine) as { event: string }).event;
/** The export with this in place of its first line. */
const withFirst = (line: string) => [line, secondLine, ...otherLines, checkpointLine, ""].join("\n");

test.each<[what: string, text: string | Uint8Array]>([
  ["nothing", ""],
  ["only a line end", "\n"],
  ["no checkpoint", `${firstLine}\n`],
  ["a line behind the checkpoint", `${toExport(entries, signer)}${firstLine}\n`],
  ["two checkpoints", `${checkpointLine}\n${toExport(entries, signer)}`],
  ["a blank line", withFirst(`\n${firstLine}`)],
  ["a line that is too long", withFirst(`{"leafIndex":0,"event":"${"A".repeat(lineBytesMax)}"}`)],
  ["an event larger than a log takes", withFirst(`{"leafIndex":0,"event":"${"A".repeat(100_000)}"}`)],
  ["brackets without end", withFirst("[".repeat(lineBytesMax - 1))],
  ["objects in objects", withFirst(`${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`)],
  [
    "brackets within an event",
    withFirst(`{"leafIndex":0,"event":"${event}","proof":${"[".repeat(9_000)}${"]".repeat(9_000)}}`),
  ],
  ["a checkpoint of nothing but escapes", withFirst(`{"checkpoint":"${"\\n".repeat(120_000)}"}`)],
  ["an array", withFirst("[]")],
  ["null", withFirst("null")],
  ["a number", withFirst("1e999")],
  ...["-1", "-0", "0.5", "1e0", "00", "1e999", "9007199254740993", '"0"', "null", "[0]"].map(
    (index): [string, string] => [
      `the leaf index ${index}`,
      withFirst(`{"leafIndex":${index},"event":"${event}"}`),
    ],
  ),
  ["a name twice", withFirst(`{"leafIndex":0,"event":"AAAA","event":"${event}"}`)],
  ["a name too many", withFirst(`{"leafIndex":0,"event":"${event}","note":"trust me"}`)],
  ["a name of an object's own", withFirst(`{"leafIndex":0,"event":"${event}","__proto__":1}`)],
  ["base64 of another alphabet", withFirst(`{"leafIndex":0,"event":"${event.replaceAll("A", "-")}"}`)],
  ["base64 without its end", withFirst(`{"leafIndex":0,"event":"${event}A"}`)],
  ["base64 with blanks", withFirst(`{"leafIndex":0,"event":" ${event}"}`)],
  [
    "bytes that are no UTF-8",
    Buffer.concat([Buffer.from([0xff, 0xfe, 0x0a]), Buffer.from(withFirst(firstLine))]),
  ],
  ["a byte order mark", `\uFEFF${toExport(entries, signer)}`],
  ["a checkpoint that is a number", withFirst(firstLine).replace(/\{"checkpoint".*\}/, '{"checkpoint":1}')],
  ["a checkpoint twice", withFirst(firstLine).replace('{"checkpoint"', '{"checkpoint":"","checkpoint"')],
  [
    "a proof on one line alone",
    withFirst(firstLine).replace(secondLine, secondLine.replace("}", ',"proof":[]}')),
  ],
  [
    "a proof that is endless",
    withFirst(firstLine.replace("}", `,"proof":[${Array<string>(54).fill('""').join()}]}`)),
  ],
  ["a signed note that is no checkpoint", JSON.stringify({ checkpoint: signNote("hello\n", [signer]) })],
  ["a proof file that ends early", "c2sp.org/tlog-proof@v1\nindex 0\n"],
  ["a proof file without an end", `c2sp.org/tlog-proof@v1\n${"index 0\n".repeat(200_000)}`],
])("%s cannot be read, and nothing else goes wrong", async (_, text) => {
  expect(await judgeBytes(text, keys)).toMatchObject({ kind: "unreadable" });
});

test("blanks within lines, other line ends and escapes do not change what is said", async () => {
  const loose = [firstLine, secondLine, ...otherLines, checkpointLine]
    .map((line) => line.replaceAll('":', '": ').replaceAll("—", "\\u2014"))
    .join("\r\n");
  expect(await judgeBytes(loose, keys)).toBeUndefined();
});

test("a device without an end is given up", async () => {
  await expect(judgePath("/dev/zero", { keys })).rejects.toThrow("Line 1 is longer than");
});

test("a path that is not there cannot be read", async () => {
  await expect(judgePath("/nowhere/at/all", { keys })).rejects.toMatchObject({
    fault: { kind: "unreadable" },
  });
});

test.each<[what: string, spoil: (folder: string) => Promise<void>, told: RegExp]>([
  ["has no checkpoint", (folder) => rm(`${folder}/checkpoint`), /no checkpoint/],
  ["lacks its entries", (folder) => rm(`${folder}/tile/entries/000.p/24`), /entries\/000.p\/24 is not there/],
  ["lacks a tile", (folder) => rm(`${folder}/tile/0/000.p/24`), /tile\/0\/000.p\/24 is not there/],
  ["has a tile that is too short", (folder) => truncate(`${folder}/tile/0/000.p/24`, 700), /has 700 bytes/],
  [
    "has a tile of a terabyte",
    (folder) => truncate(`${folder}/tile/0/000.p/24`, 2 ** 40),
    /more than 8192 bytes/,
  ],
  [
    "has entries that end early",
    (folder) => truncate(`${folder}/tile/entries/000.p/24`, 5_000),
    /ends within entry/,
  ],
  [
    "has a link for a tile",
    async (folder) => {
      await rm(`${folder}/tile/0/000.p/24`);
      await symlink("/dev/zero", `${folder}/tile/0/000.p/24`);
    },
    /tile\/0\/000.p\/24 cannot be read/,
  ],
  [
    "has a folder for a tile",
    async (folder) => {
      await rm(`${folder}/tile/0/000.p/24`);
      await mkdir(`${folder}/tile/0/000.p/24`);
    },
    /no plain file/,
  ],
  [
    "has a checkpoint of other bytes",
    (folder) => writeFile(`${folder}/checkpoint`, Buffer.from([0xff])),
    /UTF-8/,
  ],
])("a mirror that %s cannot be read", async (_, spoil, told) => {
  await using folder = await openFolder();
  await writeMirror(folder.path("m"), await toMirror(entries, signer));
  await expect(judgePath(folder.path("m"), { keys })).resolves.toMatchObject({ kind: "log", eventCount: 24 });
  await spoil(folder.path("m"));
  await expect(judgePath(folder.path("m"), { keys })).rejects.toThrow(told);
  await expect(judgeMirror(readFolder(folder.path("m")), { keys })).rejects.toBeInstanceOf(Unverified);
});

test("entries that are fewer or more than their file's name says are a gap", async () => {
  const files = await toMirror(entries, signer);
  const bundle = files.get("tile/entries/000.p/24")!;
  const last = entries.at(-1)!;
  for (const bytes of [
    bundle.subarray(0, bundle.length - 2 - last.length),
    Buffer.concat([bundle, bundle.subarray(bundle.length - 2 - last.length)]),
  ]) {
    const read = async (path: string) => (path === "tile/entries/000.p/24" ? bytes : files.get(path));
    await expect(judgeMirror(read, { keys })).rejects.toMatchObject({ fault: { kind: "gap" } });
  }
});

test("where a partial tile is gone the full one does", async () => {
  const log = Array.from({ length: 300 }, () => makeCase().act("created", "ann"));
  const full = await toMirror(log, signer);
  const early = new Map(full).set("checkpoint", Buffer.from(signLog(log.slice(0, 200), signer)));
  const verdict = await judgeMirror(async (path) => early.get(path), { keys });
  expect(verdict).toMatchObject({ eventCount: 200 });
});

test("what a log says cannot write lines of ours, or steer a terminal", () => {
  const made = created();
  made.act("submitted", "ann\u001b[2J\u202e\nNOT VERIFIED: nothing", {
    actor: { id: "x\r\ny\u001b[31m", kind: 1, roles: ["none\n"] },
  });
  const { first } = judgeEntries(made.entries);
  const told = tellFault(first!);
  expect(told).toContain("asks for the role");
  expect(told.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  expect(told.split("\n").filter((line) => line.startsWith("NOT VERIFIED"))).toHaveLength(1);
});

const judgeUrl = (url: string) => judgeMirror(readUrl(new URL(url)), { keys });

test.each<[name: string, spoil: Spoil]>([
  [
    "is busy",
    (response, _bytes, _path, number) => {
      if (number > 1) return "well";
      response.writeHead(503).end();
      return "spoiled";
    },
  ],
  [
    "breaks off",
    (response, bytes, _path, number) => {
      if (number > 1) return "well";
      response.writeHead(200, { "content-length": bytes.length + 1 }).write(bytes);
      response.destroy();
      return "spoiled";
    },
  ],
])("a server that %s at first is asked again", async (_, spoil) => {
  await using server = await serveFiles(await toMirror(entries, signer), spoil);
  await expect(judgeUrl(server.url)).resolves.toMatchObject({ eventCount: 24 });
  expect(server.asked()).toBe(4); // Three files, and one of them twice.
});

test("a server that never ends an answer is given up", async () => {
  await using server = await serveFiles(await toMirror(entries, signer), (response, _bytes, path) => {
    if (path === "checkpoint") return "well";
    const pour = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(1 << 16))); // Until somebody is full.
    };
    response.on("drain", pour);
    pour();
    return "spoiled";
  });
  await expect(judgeUrl(server.url)).rejects.toThrow(/more than \d+ bytes/);
});

test("a server that refuses, or is not there, is told", async () => {
  const refuse: Spoil = (response) => {
    response.writeHead(401).end();
    return "spoiled";
  };
  let gone: string;
  {
    await using server = await serveFiles(await toMirror(entries, signer), refuse);
    await expect(judgeUrl(server.url)).rejects.toThrow("status 401");
    gone = server.url;
  }
  await expect(judgeUrl(gone)).rejects.toThrow("ECONNREFUSED");
});
