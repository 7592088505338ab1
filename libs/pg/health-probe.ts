import type { Pool } from "pg";
import { runTransaction } from "./tenant-transaction.ts";

/** A probe that takes longer is a failure. */
const probeTimeoutMs = 1_000;

/**
 * Asks the database for an answer, over the pool that requests use: resolves when it can be had and answers within a
 * second, and throws what `runTransaction` throws otherwise.
 */
export async function probeDatabase(pool: Pool, signal?: AbortSignal): Promise<void> {
  const probe = { name: "health_probe", text: "SELECT 1", values: [] };
  await runTransaction(pool, { timeoutMs: probeTimeoutMs, readOnly: true, isUntraced: true, signal }, [
    probe,
  ]);
}
