import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import { formatCheckpoint } from "#libs/merkle/checkpoint.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { type NoteSigner, signNote } from "#libs/merkle/signed-note.ts";
import { appendLeaves, emptyTree, rootOf } from "#libs/merkle/tree.ts";
import { appealDecided } from "./made-cases.ts";
import { toCheckpointLine } from "./made-log.ts";

/** Cases under way at a time, whose events stand one among the other. */
const openCasesMax = 500;

/** Writes an export of about so many events, of whole cases of 11 events each; returns how many. */
export async function writeLargeExport(
  path: string,
  eventsWanted: number,
  signer: NoteSigner,
): Promise<number> {
  const file = createWriteStream(path);
  let tree = emptyTree;
  const open: Uint8Array[][] = [];
  let casesLeft = Math.ceil(eventsWanted / 11);
  for (let at = 0; casesLeft > 0 || open.length > 0; at += 1) {
    if (casesLeft > 0 && open.length < openCasesMax) {
      open.push([...appealDecided().entries]);
      casesLeft -= 1;
    }
    const place = (at * 7) % open.length;
    const entry = open[place]!.shift()!;
    if (open[place]!.length === 0) open.splice(place, 1);
    const line = `${JSON.stringify({ leafIndex: tree.size, event: encodeBase64(entry) })}\n`;
    tree = appendLeaves(tree, [hashLeaf(entry)]);
    if (!file.write(line)) await once(file, "drain");
  }
  const note = signNote(formatCheckpoint({ origin: signer.name, size: tree.size, root: rootOf(tree) }), [
    signer,
  ]);
  file.end(`${toCheckpointLine(note)}\n`);
  await finished(file);
  return tree.size;
}
