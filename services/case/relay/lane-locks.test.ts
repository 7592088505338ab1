import { expect, test } from "vitest";
import { cloneCaseDatabase } from "#test/support/databases.ts";
import { openSuperuser } from "#test/support/superuser.ts";
import { openLaneLocks, type LaneLocks } from "./lane-locks.ts";

function openLocks(url: string, onLost: (error: Error) => void): Promise<LaneLocks> {
  return openLaneLocks({ url, connectTimeoutMs: 5_000, onNotified: () => {}, onLost });
}

test("a lane is one session's until it is given back, or until that session is ended", async () => {
  await using database = await cloneCaseDatabase();
  const lost = Promise.withResolvers<Error>();
  await using owner = await openLocks(database.relayUrl, lost.resolve);
  await using other = await openLocks(database.relayUrl, () => {});
  expect([await owner.tryLock(1), await owner.tryLock(2)]).toEqual([true, true]);
  expect([await other.tryLock(1), await other.tryLock(2), await other.tryLock(3)]).toEqual([
    false,
    false,
    true,
  ]);
  expect(await owner.tryLock(3)).toBe(false);

  await owner.unlock(1);
  expect([await other.tryLock(1), await other.tryLock(2)]).toEqual([true, false]);

  await using superuser = await openSuperuser(database.superuserUrl);
  await superuser.query(
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_locks
      WHERE locktype = 'advisory' AND objid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  await lost.promise;
  expect(owner.alive).toBe(false);
  expect(await other.tryLock(2)).toBe(true);
});
