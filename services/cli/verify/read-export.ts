import { decodeBase64 } from "#libs/merkle/base64.ts";

import { quote, unreadable } from "./fault.ts";

/** One line of an export. */
export type ExportLine =
  | {
      readonly kind: "event";
      readonly leafIndex: number;
      readonly bytes: Uint8Array;
      /** Only in a proved history: the inclusion proof of the event. */
      readonly proof?: readonly Uint8Array[];
    }
  | { readonly kind: "checkpoint"; readonly note: string };

/** An entry of a log has its length in 16 bits. */
const entryBytesMax = 65_535;
/** Hashes of a proof: a tree of 2^53 - 1 leaves needs no more. */
const proofHashesMax = 53;

/**
 * Takes the lines of an export apart: events, and at last the checkpoint. Throws `Unverified` on anything else, and on an end
 * without a checkpoint. What the lines say is not judged.
 */
export async function* readExport(lines: AsyncIterable<string>): AsyncGenerator<ExportLine> {
  let number = 0;
  let last: ExportLine["kind"] | undefined;
  for await (const text of lines) {
    number += 1;
    if (last === "checkpoint")
      throw unreadable(`Line ${number} stands behind the checkpoint, which is the last.`);
    const line = readLine(text);
    if (!line) {
      throw unreadable(`Line ${number} is neither an event nor the checkpoint of an export: ${quote(text)}`);
    }
    yield line;
    last = line.kind;
  }
  if (last !== "checkpoint") throw unreadable("The export ends without its checkpoint: it is not whole.");
}

/** A checkpoint's text may be escaped in several ways. */
const checkpointLine = /^\s*\{\s*"checkpoint"\s*:\s*(".*")\s*\}\s*$/;

function readLine(text: string): ExportLine | undefined {
  const [, quoted] = checkpointLine.exec(text) ?? [];
  const found = parse(quoted ?? text);
  if (quoted !== undefined)
    return typeof found === "string" ? { kind: "checkpoint", note: found } : undefined;
  if (typeof found !== "object" || found === null) return undefined;
  const { leafIndex, event, proof, ...others } = found as Record<string, unknown>; // An object, of what there is.
  const bytes = typeof event === "string" ? decodeBase64(event) : undefined;
  const hashes = proof === undefined ? [] : readHashes(proof);
  if (!isIndex(leafIndex) || !bytes || bytes.length > entryBytesMax || !hashes) return undefined;
  if (Object.keys(others).length > 0 || !saysOnly(text, found)) return undefined;
  return { kind: "event", leafIndex, bytes, ...(proof !== undefined && { proof: hashes }) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Whether the text says no more than what was read of it: JSON with a name twice, or with a number in another form, reads differently
 * in different programs. Blanks between the parts do not count, and there are none within them.
 */
function saysOnly(text: string, found: object): boolean {
  const canonical = JSON.stringify(found);
  return text === canonical || text.replaceAll(/\s/g, "") === canonical;
}

function isIndex(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function readHashes(proof: unknown): Uint8Array[] | undefined {
  if (!Array.isArray(proof) || proof.length > proofHashesMax) return undefined;
  const hashes = proof.map((text: unknown) => (typeof text === "string" ? decodeBase64(text) : undefined));
  return hashes.every((hash) => hash !== undefined) ? hashes : undefined;
}
