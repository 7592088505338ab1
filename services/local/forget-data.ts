import { rm } from "node:fs/promises";
import { join } from "node:path";

import { forgetPostgres } from "#libs/postgres-server/forget-postgres.ts";

import type { LocalConfig } from "./config.ts";
import { StartFailure } from "./start-failure.ts";

/** By name: the folder may hold what is not ours. */
const forgotten = ["issuer-key.json", "jwks.json", "relay-token", "log-keys", "signer", "logs"];

/**
 * Deletes everything the stack keeps below its folder: the databases, the issuer's key and with it every token, the logs.
 * Nothing may be running. Databases of others are refused, and left alone.
 */
export async function forgetData({ home, databases }: LocalConfig): Promise<void> {
  if (databases) {
    throw new StartFailure(
      "CASE_DATABASE_URL: --reset forgets the stack's own databases only; unset it and its like",
    );
  }
  await forgetPostgres({ home });
  for (const name of forgotten) await rm(join(home, name), { recursive: true, force: true });
}
