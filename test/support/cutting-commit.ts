import { expect } from "vitest";
import type { CuttingProxy } from "./cutting-proxy.ts";
import { openSuperuser } from "./superuser.ts";

/** COMMIT as a client sends it. */
export const commitMessage = "Q\0\0\0\x0bCOMMIT";

/** A write that has done everything but commit: it holds its row locks, and nobody sees what it wrote. */
export interface HeldCommit {
  /** Resolves once the database waits for the rest. */
  reached(): Promise<void>;
  /** Lets it commit, and may see to it that nobody hears of it. */
  release(then?: "cut-answer"): void;
}

/** Holds the next write through `front` before its COMMIT. */
export function holdCommit(front: CuttingProxy, superuserUrl: string): HeldCommit {
  const strike = front.strike({ side: "client", has: "save_", before: commitMessage }, "hold");
  return {
    async reached() {
      await strike.struck;
      await using superuser = await openSuperuser(superuserUrl);
      const open = async () =>
        (
          await superuser.query(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'",
          )
        ).rowCount;
      await expect
        .poll(open, { interval: 5, timeout: 5_000, message: "open transactions" })
        .toBeGreaterThan(0);
    },
    release: strike.release,
  };
}
