import { DatabaseError } from "pg";
import { expect, test } from "vitest";
import { StatementTimeoutError, TimeBudgetSpentError } from "./transaction-errors.ts";
import { tryAgainUntil } from "./try-again.ts";

const refusal = Object.assign(new DatabaseError("deadlock", 0, "error"), { code: "40P01" });

test.each([new TimeBudgetSpentError(0), new StatementTimeoutError("cancelled")])(
  "a read whose time is up after the database asked to try again fails with that for its cause: %s",
  async (late) => {
    const errors = [refusal, late];
    const failed = tryAgainUntil(performance.now() + 60_000, () => Promise.reject(errors.shift()));
    await expect(failed).rejects.toThrow(StatementTimeoutError);
    await expect(failed).rejects.toMatchObject({ cause: refusal });
  },
);

test("a read whose time is up before the database asked for anything fails as it is", async () => {
  const late = new TimeBudgetSpentError(0);
  await expect(tryAgainUntil(performance.now() + 60_000, () => Promise.reject(late))).rejects.toBe(late);
});
