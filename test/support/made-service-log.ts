import { hashLeaf } from "#libs/merkle/hash.ts";
import { proveConsistency } from "#libs/merkle/prove.ts";
import type { NoteSigner } from "#libs/merkle/signed-note.ts";
import { readFrom, tilesInMemory } from "#libs/merkle/tiles-in-memory.ts";
import type { ServiceLog } from "#services/cli/log/update-mirror.ts";
import { signLog } from "./made-log.ts";

export interface MadeServiceLog extends ServiceLog {
  /** From which leaf on it was asked, each time. */
  readonly asked: readonly number[];
}

/** A log as a service tells it; of what it tells, `told` may be another than what it signed. */
export function serveLog(
  entries: readonly Uint8Array[],
  signer: NoteSigner,
  told: readonly Uint8Array[] = entries,
): MadeServiceLog {
  const asked: number[] = [];
  return {
    asked,
    async *exportFrom(leafIndex) {
      asked.push(leafIndex);
      for (let at = leafIndex; at < told.length; at += 1)
        yield { kind: "event", leafIndex: at, bytes: told[at]! };
      yield { kind: "checkpoint", note: signLog(entries, signer) };
    },
    proveConsistency: (first, second) =>
      proveConsistency(first, second, readFrom(tilesInMemory(entries.map((entry) => hashLeaf(entry))))),
  };
}
