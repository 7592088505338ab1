import { createDurations } from "#libs/telemetry/durations.ts";
import { lazily } from "#libs/telemetry/lazily.ts";

const recordDuration = lazily(() =>
  createDurations(
    "pg",
    "db.query.duration",
    "How long PostgreSQL took for the statements of one round trip, without the wait for a connection",
  ),
);

/** Runs one exchange of statements, and counts how long it took under their names joined by spaces, however it ends. */
export async function timeStatements<T>(
  statements: readonly { readonly name: string }[],
  run: () => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  try {
    return await run();
  } finally {
    const statement = statements.map(({ name }) => name.split(":", 1)[0]).join(" ");
    recordDuration()(performance.now() - startedAt, { statement });
  }
}
