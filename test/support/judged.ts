import { type NoteSigner, readVerifierKey } from "#libs/merkle/signed-note.ts";
import { type Fault, Unverified } from "#services/cli/verify/fault.ts";
import type { JudgeOptions } from "#services/cli/verify/judge-log.ts";
import { judgeMirror } from "#services/cli/verify/judge-mirror.ts";
import { judgeFile, type SourceVerdict } from "#services/cli/verify/judge-source.ts";
import { type LogKeys, readSigned, type SignedCheckpoint } from "#services/cli/verify/read-signed.ts";
import { after, appealDecided, twoOf, underReview } from "./made-cases.ts";
import { makeCase, makePolicy } from "./made-history.ts";
import { signLog } from "./made-log.ts";

export function keysOf({ name, vkey }: NoteSigner): LogKeys {
  return { origin: name, verifiers: [readVerifierKey(vkey)] };
}

/** Keeps a log as a verification does that went well. */
export function keep(entries: readonly Uint8Array[], signer: NoteSigner): SignedCheckpoint {
  return readSigned(signLog(entries, signer), keysOf(signer), "What is kept");
}

/** Judges a file of these bytes, which come in pieces. */
export function judgeBytes(
  bytes: Uint8Array | string,
  keys: LogKeys,
  options: Omit<JudgeOptions, "keys"> = {},
): Promise<Fault | undefined> {
  return faultOf(judgeFile(inPieces(Buffer.from(bytes)), { keys, ...options }));
}

/** Judges a mirror of these files. */
export function judgeFiles(
  files: ReadonlyMap<string, Uint8Array>,
  keys: LogKeys,
  options: Omit<JudgeOptions, "keys"> = {},
): Promise<Fault | undefined> {
  return faultOf(judgeMirror(async (path) => files.get(path), { keys, ...options }));
}

/** The fault; `undefined` when all is well. */
async function faultOf(verdict: Promise<SourceVerdict | object>): Promise<Fault | undefined> {
  try {
    await verdict;
    return undefined;
  } catch (error) {
    if (error instanceof Unverified) return error.fault;
    throw error;
  }
}

const pieceBytes = 4_099;

async function* inPieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** A log of several histories, told one among the other: 24 events, a policy and a tombstone among them. */
export function makeSmallLog(): readonly Uint8Array[] {
  const held = makeCase();
  held.act("created", "ann");
  held.bury("updated", "ann");
  held.act("submitted", "ann");
  held.act("held", "otto");
  const two = after(
    underReview(twoOf),
    ["approval_recorded", "rita"],
    ["approved", "rob"],
    ["closed", "sue"],
  );
  return interleave([appealDecided().entries, two, held.entries, [makePolicy("two")]]);
}

/** One of each in turn, as long as there are any. */
export function interleave(histories: readonly (readonly Uint8Array[])[]): readonly Uint8Array[] {
  const longest = Math.max(...histories.map(({ length }) => length));
  return Array.from({ length: longest }, (_, at) => histories.flatMap((one) => one.slice(at, at + 1))).flat();
}

/** The same bytes with one bit turned. */
export function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const changed = Buffer.from(bytes);
  changed[bit >> 3]! ^= 1 << (bit & 7);
  return changed;
}

/** `CASEFLOW_EVERY_BIT=1` turns each; otherwise as many as fit a test run, spread over the whole. */
export function* bitsOf(byteCount: number, sampleMax: number): Generator<number> {
  const bits = byteCount * 8;
  const stride =
    process.env["CASEFLOW_EVERY_BIT"] === "1" ? 1 : Math.max(1, Math.floor(bits / sampleMax) | 1);
  for (let bit = 0; bit < bits; bit += stride) yield bit;
}
