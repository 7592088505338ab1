import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { noteBytesMax } from "#libs/merkle/signed-note.ts";
import { tlogProofBytesMax } from "#libs/merkle/tlog-proof.ts";

import { unreadable } from "./fault.ts";
import { judgeExport } from "./judge-export.ts";
import { judgeHistory } from "./judge-history.ts";
import type { JudgeOptions, Verdict } from "./judge-log.ts";
import { judgeMirror } from "./judge-mirror.ts";
import { judgeProof, type ProofVerdict, proofFirstLine } from "./judge-proof.ts";
import { readFolder, readUrl } from "./mirror-files.ts";
import { type ExportLine, readExport } from "./read-export.ts";
import { readLines } from "./read-lines.ts";

/** What was verified, and what it was. */
export type SourceVerdict =
  | ({ readonly kind: "log" | "history" } & Verdict)
  | ({ readonly kind: "proof" } & ProofVerdict);

/** Judges what is at a path: a mirror's folder, an export, a proved history or a proof. Throws `Unverified`. */
export async function judgePath(path: string, options: JudgeOptions): Promise<SourceVerdict> {
  const found = await stat(path).catch((cause: unknown) => {
    throw unreadable(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`, {
      cause,
    });
  });
  if (found.isDirectory()) return { kind: "log", ...(await judgeMirror(readFolder(path), options)) };
  return judgeFile(readPieces(path), options);
}

/** Judges the mirror below a URL; `undefined` when there is none. Throws `Unverified`. */
export async function judgeUrl(url: URL, options: JudgeOptions): Promise<SourceVerdict | undefined> {
  const read = readUrl(url);
  if (!(await read("checkpoint", noteBytesMax))) return undefined;
  return { kind: "log", ...(await judgeMirror(read, options)) };
}

/** Judges a file by its bytes; what kind of file it is shows in its first line. */
export async function judgeFile(
  pieces: AsyncIterable<Uint8Array>,
  options: JudgeOptions,
): Promise<SourceVerdict> {
  const lines = readLines(pieces);
  const { done, value: first } = await lines.next();
  if (done) throw unreadable("The file is empty.");
  if (first === proofFirstLine)
    return { kind: "proof", ...judgeProof(await readText(first, lines), options.keys) };
  const items = readExport(startingWith(first, lines));
  const begin = await items.next();
  if (begin.done) throw new Error("unreachable: there was a first line");
  const all = startingWith<ExportLine>(begin.value, items);
  const isHistory = begin.value.kind === "event" && begin.value.proof !== undefined;
  if (isHistory) return { kind: "history", ...(await judgeHistory(all, options)) };
  return { kind: "log", ...(await judgeExport(all, options)) };
}

async function* readPieces(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path) as AsyncIterable<Buffer>; // Without an encoding it gives buffers.
  } catch (cause) {
    throw unreadable(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`, {
      cause,
    });
  }
}

async function* startingWith<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* rest;
}

async function readText(first: string, rest: AsyncIterable<string>): Promise<string> {
  let text = `${first}\n`;
  for await (const line of rest) {
    text += `${line}\n`;
    if (text.length > tlogProofBytesMax) throw unreadable(`A proof has at most ${tlogProofBytesMax} bytes.`);
  }
  return text;
}
