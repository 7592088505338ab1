/*
 * Keeps a folder a mirror of a log (C2SP tlog-tiles).
 *
 *   1 load     the folder's checkpoint, and the right edge of its tiles, whose root must be the checkpoint's
 *   2 grow     take the entries behind it, those first that a killed run left, then those of the service; full tiles and bundles
 *              are written as they become full, and never again
 *   3 judge    the service's signed checkpoint by the root of what was computed: since the hashing went on from the folder's own
 *              tree, the same root also proves that nothing before was changed
 *   4 write    the partial files at the new right edge, and make all names last
 *   5 switch   the checkpoint, by a rename
 *   6 tidy     remove the partial files that are outgrown
 *
 * Up to 5 the folder is the log that it was: its partial files are all there, and nothing that its checkpoint is over was touched. From
 * 5 on it is the new one. A run that was killed leaves full tiles that no checkpoint is over; the next one takes their entries, and
 * when these turn out to be of no use, drops them and asks the service.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { lockFolder } from "#libs/files/lock-folder.ts";
import { replaceFile } from "#libs/files/replace-file.ts";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import { noteBytesMax } from "#libs/merkle/signed-note.ts";
import { verifyConsistency } from "#libs/merkle/verify-proof.ts";

import { type Fault, Unverified } from "../verify/fault.ts";
import { isSame } from "../verify/hash-tree.ts";
import { findCountGap, findForkFault, findLeafGap } from "../verify/judge-log.ts";
import { readFolder } from "../verify/mirror-files.ts";
import { readMirrorCheckpoint } from "../verify/mirror-tiles.ts";
import type { ExportLine } from "../verify/read-export.ts";
import { type LogKeys, readSigned, type SignedCheckpoint } from "../verify/read-signed.ts";
import { loadEdge, readLeftovers } from "./load-edge.ts";
import { buildMirror, emptyEdge, type MirrorBuilder, type MirrorEdge } from "./mirror-builder.ts";
import { type MirrorFolder, openMirrorFolder } from "./mirror-folder.ts";

/** What a mirror asks a service. */
export interface ServiceLog {
  /** The events from this leaf on, none when there are none, and behind them the checkpoint that is over all of them. */
  exportFrom(leafIndex: number): AsyncIterable<ExportLine>;
  /** The consistency proof between the logs of these two sizes. */
  proveConsistency(firstSize: number, secondSize: number): Promise<readonly Uint8Array[]>;
}

export interface UpdateOptions {
  /** Made when it is not there. */
  readonly folder: string;
  readonly keys: LogKeys;
  readonly service: ServiceLog;
  /** Called for each entry. */
  readonly onEntry?: () => void;
  /** For tests. */
  readonly openFolder?: typeof openMirrorFolder;
  readonly replaceCheckpoint?: typeof replaceFile;
}

export interface Updated {
  /** Entries that were added. */
  readonly addedCount: number;
  readonly checkpoint: SignedCheckpoint;
}

/**
 * Brings a mirror up to date, or begins one. Throws `Unverified` when the folder, or what the service says, does not hold, above all
 * when its log does not go on from the mirror's; `FolderLocked` while another process writes there.
 */
export async function updateMirror(options: UpdateOptions): Promise<Updated> {
  const { folder, keys, openFolder = openMirrorFolder, replaceCheckpoint = replaceFile } = options;
  await mkdir(folder, { recursive: true });
  await using _lock = await lockFolder(folder);
  const read = readFolder(folder);
  const kept = (await read("checkpoint", noteBytesMax))
    ? readSigned(await readMirrorCheckpoint(read), keys, "The mirror's checkpoint")
    : undefined;
  const edge = kept ? await loadEdge(read, kept) : emptyEdge;
  const files = await openFolder(folder);

  let grown = await grow(options, files, edge, readLeftovers(read, edge));
  if (grown.fault && grown.leftoverCount > 0) {
    await files.dropBeyond(edge.size);
    grown = await grow(options, files, edge, []);
  }
  const { builder, signed } = grown;
  const fault = grown.fault && (await explain(grown.fault, kept, signed, options));
  if (fault) throw new Unverified(fault);
  for (const { path, bytes } of builder.partialFiles()) await files.write(path, bytes);
  await files.settle();
  await replaceCheckpoint(join(folder, "checkpoint"), signed.note, 0o644);
  await files.dropOutgrown(signed.size);
  return { addedCount: signed.size - edge.size, checkpoint: signed };
}

interface Grown {
  readonly builder: MirrorBuilder;
  readonly signed: SignedCheckpoint;
  /** Entries that were here already. */
  readonly leftoverCount: number;
  /** Set when the entries are not those that the service signed. */
  readonly fault: Fault | undefined;
}

async function grow(
  { keys, service, onEntry }: UpdateOptions,
  files: MirrorFolder,
  edge: MirrorEdge,
  leftovers: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Grown> {
  const builder = buildMirror(edge);
  const take = async (entry: Uint8Array): Promise<void> => {
    onEntry?.();
    for (const { path, bytes } of builder.add(entry)) await files.write(path, bytes);
  };
  for await (const entry of leftovers) await take(entry);
  const leftoverCount = builder.size - edge.size;
  let signed: SignedCheckpoint | undefined;
  let gap: Fault | undefined;
  for await (const line of service.exportFrom(builder.size)) {
    if (line.kind === "checkpoint") signed = readSigned(line.note, keys, "The service's checkpoint");
    else if ((gap ??= findLeafGap(builder.size, line.leafIndex)) === undefined) await take(line.bytes);
  }
  if (!signed) throw new Error("unreachable: an export without a checkpoint cannot be read");
  const fault = gap ?? findCountGap(signed, builder.size) ?? findRootFault(signed, await builder.root());
  return { builder, signed, leftoverCount, fault };
}

function findRootFault({ root, size }: SignedCheckpoint, computed: Uint8Array): Fault | undefined {
  if (isSame(computed, root)) return undefined;
  return {
    kind: "root",
    what: `The ${size} events that the service gave are not those that it signed.`,
    expected: `root ${encodeBase64(root)}`,
    found: `root ${encodeBase64(computed)}`,
  };
}

/** Whether it was the events given, or the log itself, that changed: the service cannot prove that a rewritten log goes on. */
async function explain(
  fault: Fault,
  kept: SignedCheckpoint | undefined,
  signed: SignedCheckpoint,
  { service }: UpdateOptions,
): Promise<Fault> {
  if (!kept || kept.size === 0) return fault;
  const rolledBack = findForkFault(signed, kept, kept.root);
  if (rolledBack) return rolledBack;
  const [first, second, firstRoot, secondRoot] = [kept.size, signed.size, kept.root, signed.root];
  const proof = first === second ? [] : await service.proveConsistency(first, second);
  const goesOn = verifyConsistency({ first, second, firstRoot, secondRoot, proof });
  return goesOn ? fault : (findForkFault(signed, kept, undefined) ?? fault);
}
