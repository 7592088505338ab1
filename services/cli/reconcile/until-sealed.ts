import { setTimeout as pause } from "node:timers/promises";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";

import { Failure } from "../failure.ts";

const sealWaitMs = 60_000;
const lookEveryMs = 250;

/** How many events the log holds by now, whether a checkpoint covers them or not. */
export async function readLogSize(audit: AuditClient): Promise<number> {
  const { sealed, unsealed } = await readSizes(audit);
  return sealed + unsealed;
}

/** Waits until a checkpoint covers this many events. Throws `Failure` after a minute: the signer is not there, or refuses. */
export async function untilSealed(audit: AuditClient, size: number): Promise<void> {
  for (const endMs = performance.now() + sealWaitMs; performance.now() < endMs; await pause(lookEveryMs)) {
    if ((await readSizes(audit)).sealed >= size) return;
  }
  throw new Failure(`no checkpoint covered the first ${size} events within ${sealWaitMs / 1_000} s`);
}

async function readSizes(
  audit: AuditClient,
): Promise<{ readonly sealed: number; readonly unsealed: number }> {
  const { checkpoint, unsealedCount } = await audit.getCheckpoint({});
  const { size } = readCheckpoint(checkpoint.slice(0, checkpoint.lastIndexOf("\n\n") + 1));
  return { sealed: size, unsealed: Number(unsealedCount) };
}
