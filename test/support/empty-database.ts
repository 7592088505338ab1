import { randomBytes } from "node:crypto";
import { inject } from "vitest";
import { openSession } from "#libs/pg/session.ts";
import { socketUrl } from "#libs/postgres-server/socket-url.ts";

/** A database with nothing in it. */
export interface EmptyDatabase extends AsyncDisposable {
  /** As the superuser. */
  readonly url: string;
}

/** Makes a database on the run's PostgreSQL; disposing it drops it, whoever is connected. */
export async function createEmptyDatabase(): Promise<EmptyDatabase> {
  const name = `empty_${randomBytes(6).toString("hex")}`;
  await runAsSuperuser(`CREATE DATABASE ${name} TEMPLATE template0`);
  return {
    url: socketUrl(inject("postgresSocketDir"), "postgres", name),
    [Symbol.asyncDispose]: () => runAsSuperuser(`DROP DATABASE ${name} WITH (FORCE)`),
  };
}

async function runAsSuperuser(command: string): Promise<void> {
  await using session = await openSession({
    url: socketUrl(inject("postgresSocketDir"), "postgres", "postgres"),
    applicationName: "test",
    connectTimeoutMs: 10_000,
    onError: () => {}, // The command fails with it.
  });
  await session.query(command);
}
