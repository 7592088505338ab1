import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import { expect, test } from "vitest";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { cloneAuditDatabase, type AuditDatabase } from "./support/databases.ts";
import { makeChain, makeEvent, withUnknownField, type TestEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { appendAsReleased } from "./support/released-append.ts";
import { makeSigning, untilSealed, type Signing } from "./support/signing.ts";
import { expectSoundTrees } from "./support/sound-tree.ts";
import { openSuperuser } from "./support/superuser.ts";
import { waitUntil } from "./support/wait-until.ts";

expectNoLeaks();

/*
 * What the signer signs, and above all what it refuses to: whatever does not extend the last checkpoint that it signed. A copy of
 * the database stands for its backup.
 */

const tenant = "acme";

/** An audit service that signs, with what its log told. */
interface Signed extends AsyncDisposable {
  readonly audit: AuditServiceFixture;
  deliver(events: readonly TestEvent[]): Promise<void>;
  /** Size of the newest checkpoint, and events behind it. */
  newest(): Promise<{ size: number; unsealed: number }>;
  sealed(): Promise<void>;
  /** Resolves once the log has said that the tenant's log is not signed for this reason, since the last time it was asked. */
  refused(why: string): Promise<void>;
  /** Resolves once the log has said that it is signed again. */
  recovered(): Promise<void>;
}

async function start(database: AuditDatabase, signing: Signing): Promise<Signed> {
  const logged: Record<string, unknown>[] = [];
  const audit = await startAuditService({ database, signing, logged });
  const [source, auditor] = [await audit.source(), await audit.auditor(tenant)];
  const told = async (line: Record<string, unknown>) => {
    const fits = (entry: Record<string, unknown>) =>
      Object.entries(line).every(([key, value]) => entry[key] === value);
    await waitUntil(async () => logged.some(fits));
    logged.length = 0;
  };
  return {
    audit,
    async deliver(events) {
      const { outcomes } = await source.recordEvents({ events: events.map(({ bytes }) => bytes) });
      expect(outcomes.map(({ reason }) => reason)).toEqual(events.map(() => ""));
    },
    async newest() {
      const { checkpoint, unsealedCount } = await auditor.getCheckpoint({});
      return { size: sizeOf(checkpoint), unsealed: Number(unsealedCount) };
    },
    sealed: async () => void (await untilSealed(auditor)),
    refused: (why) => told({ level: "error", msg: "the log is not signed", tenant_id: tenant, why }),
    recovered: () => told({ msg: "the log is signed again", tenant_id: tenant }),
    [Symbol.asyncDispose]: () => audit[Symbol.asyncDispose](),
  };
}

const sizeOf = (note: string): number => readCheckpoint(note.slice(0, note.lastIndexOf("\n\n") + 1)).size;

/** A signed log of five events, a backup of it, and the log as it went on with four more, signed too. */
async function startRestore() {
  await using opened = new AsyncDisposableStack();
  const signing = opened.use(await makeSigning());
  const live = opened.use(await cloneAuditDatabase());
  const events = makeChain(9);
  {
    await using signed = await start(live, signing);
    await signed.deliver(events.slice(0, 5));
    await signed.sealed();
  }
  const backup = opened.use(await cloneAuditDatabase(live.name));
  {
    await using signed = await start(live, signing);
    await signed.deliver(events.slice(5));
    await signed.sealed();
  }
  const last = await signing.lastNote(tenant);
  expect(sizeOf(last)).toBe(9);
  const running = opened.move();
  return {
    signing,
    backup,
    lost: events.slice(5),
    last,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function withSuperuser<T>(
  database: AuditDatabase,
  act: (superuser: pg.Client) => Promise<T>,
): Promise<T> {
  await using superuser = await openSuperuser(database.superuserUrl);
  return await act(superuser);
}

test("a database put back to an earlier copy is not signed, and the log says why, until the same events have come again in the same order", async () => {
  await using restore = await startRestore();
  const { signing, backup, lost, last } = restore;
  {
    await using signed = await start(backup, signing);
    await signed.refused("rolled_back"); // Nothing was appended: it is the start that looks.
    expect(await signed.newest(), "the last good one").toEqual({ size: 5, unsealed: 0 });
    await signed.deliver(lost.slice(0, 2));
    expect(await signed.newest()).toEqual({ size: 5, unsealed: 2 });
  }
  {
    await using signed = await start(backup, signing);
    await signed.refused("rolled_back");
    expect(await signing.lastNote(tenant)).toBe(last);
    await signed.deliver(lost.slice(2));
    await signed.recovered();
    expect(await signed.newest()).toEqual({ size: 9, unsealed: 0 });
    const auditor = await signed.audit.auditor(tenant);
    expect((await auditor.getCheckpoint({})).checkpoint, "as it was signed the first time").toBe(last);
    await signed.deliver([makeEvent()]);
    await signed.sealed();
    expect(sizeOf(await signing.lastNote(tenant))).toBe(10);
  }
  await withSuperuser(backup, expectSoundTrees);
}, 60_000);

test.each<[string, (lost: readonly TestEvent[]) => readonly TestEvent[]]>([
  ["another event", () => [makeEvent()]],
  ["the same events, with another one between them", ([first, ...rest]) => [first!, makeEvent(), ...rest]],
])(
  "a database put back to an earlier copy that went on with %s is never signed again, however far it goes",
  async (_, goOn) => {
    await using restore = await startRestore();
    const { signing, backup, lost, last } = restore;
    {
      await using signed = await start(backup, signing);
      await signed.refused("rolled_back");
      await signed.deliver(goOn(lost));
      await signed.deliver(Array.from({ length: 300 }, () => makeEvent()));
      await signed.refused("forked");
      const { size, unsealed } = await signed.newest();
      expect({ size, unsealed: unsealed > 300 }).toEqual({ size: 5, unsealed: true });
    }
    await using signed = await start(backup, signing);
    await signed.refused("forked");
    expect(await signing.lastNote(tenant)).toBe(last);
    expect(await withSuperuser(backup, storedSizes)).toEqual([5]);
  },
  60_000,
);

async function storedSizes(superuser: pg.Client): Promise<number[]> {
  const { rows } = await superuser.query<{ size: number }>(
    "SELECT tree_size::int AS size FROM checkpoints ORDER BY 1",
  );
  return rows.map(({ size }) => size);
}

test("a log that is gone from its database altogether is told of, and no other is signed in its place", async () => {
  await using restore = await startRestore();
  const { signing, last } = restore;
  await using empty = await cloneAuditDatabase();
  await using signed = await start(empty, signing);
  await signed.refused("rolled_back");
  await signed.deliver(Array.from({ length: 12 }, () => makeEvent()));
  await signed.refused("forked");
  const auditor = await signed.audit.auditor(tenant);
  expect(await refusalOf(auditor.getCheckpoint({}))).toBe("NotFound CHECKPOINT_NOT_FOUND");
  expect(await signing.lastNote(tenant)).toBe(last);
});

test("history that somebody with all rights has rewritten, tree and all, is not signed", async () => {
  await using database = await cloneAuditDatabase();
  await using signing = await makeSigning();
  const events = Array.from({ length: 300 }, () => makeEvent());
  {
    await using signed = await start(database, signing);
    await signed.deliver(events);
    await signed.sealed();
  }
  await withSuperuser(database, async (superuser) => {
    await superuser.query("ALTER TABLE events DROP CONSTRAINT events_digest_holds");
    const { bytes, eventId } = withUnknownField(events[17]!);
    await superuser.query("UPDATE events SET bytes = $2, digest = sha256($2) WHERE event_id = $1", [
      eventId,
      bytes,
    ]);
    await forgetTree(superuser); // The next append, or the signer, makes it anew.
  });
  await using signed = await start(database, signing);
  await signed.refused("forked");
  await signed.deliver([makeEvent()]);
  expect(await signed.newest()).toEqual({ size: 300, unsealed: 1 });
});

/** What can be had again from the events. */
async function forgetTree(superuser: pg.Client): Promise<void> {
  await superuser.query("DELETE FROM tiles");
  await superuser.query("UPDATE logs SET tree_size = 0, tree_edge = ''");
}

test.each<[string, string, string]>([
  ["a tile is gone", "DELETE FROM tiles WHERE tile_index = 0", "tile/1/000.p/1 has 0 hashes"],
  [
    "a tile's root is another's",
    "UPDATE tiles SET root = sha256(root) WHERE tile_index = 0",
    "the tree is not that of its leaves",
  ],
  [
    "a leaf of the last tile is gone",
    "DELETE FROM events WHERE leaf_index = 290",
    "tile/0/001.p/44 has 43 hashes",
  ],
  [
    "the tree state is another's",
    "UPDATE logs SET tree_edge = sha256('') || substr(tree_edge, 33)",
    "the tree is not that of its leaves",
  ],
  [
    "the newest checkpoint is none",
    "UPDATE checkpoints SET note = 'x'",
    "the stored checkpoint of 300 leaves is none of this log",
  ],
])("where %s nothing is signed, and the log says what it is", async (_, damage, detail) => {
  await using database = await cloneAuditDatabase();
  await using signing = await makeSigning();
  {
    await using signed = await start(database, signing);
    await signed.deliver(Array.from({ length: 300 }, () => makeEvent()));
    await signed.sealed();
  }
  await withSuperuser(database, (superuser) => superuser.query(damage));
  const logged: Record<string, unknown>[] = [];
  await using audit = await startAuditService({ database, signing, logged });
  await (await audit.source()).recordEvents({ events: [makeEvent().bytes] });
  await waitUntil(async () => logged.some(({ why }) => why !== undefined));
  const line = logged.find(({ why }) => why !== undefined);
  const after = detail.replace("001.p/44 has 43", "001.p/45 has 44"); // An event came on top.
  expect(line).toMatchObject({ why: "damaged", tenant_id: tenant });
  expect([detail, after]).toContain(line?.["detail"]);
  expect(sizeOf(await signing.lastNote(tenant))).toBe(300);
});

test("a tree that cannot take in what it lacks is damaged too", async () => {
  await using database = await cloneAuditDatabase();
  await appendAsReleased(database.appUrl, tenant, 10);
  await withSuperuser(database, (superuser) => superuser.query("DELETE FROM events WHERE leaf_index = 4"));
  await using signing = await makeSigning();
  await using signed = await start(database, signing);
  await signed.refused("damaged");
});

test("a damaged tree is built anew from the events, and signed again", async () => {
  await using database = await cloneAuditDatabase();
  await using signing = await makeSigning();
  {
    await using signed = await start(database, signing);
    await signed.deliver(Array.from({ length: 300 }, () => makeEvent()));
    await signed.sealed();
  }
  await withSuperuser(database, (superuser) => superuser.query("DELETE FROM tiles"));
  await using signed = await start(database, signing);
  await signed.deliver([makeEvent()]);
  await signed.refused("damaged");
  await withSuperuser(database, forgetTree);
  await signed.recovered();
  expect(await signed.newest()).toEqual({ size: 301, unsealed: 0 });
  await withSuperuser(database, expectSoundTrees);
});

test.each<[string, (file: string) => Promise<unknown>]>([
  ["is lost", (file) => rm(file)],
  ["is cut off", async (file) => writeFile(file, (await readFile(file, "utf8")).slice(0, 40))],
  [
    "is of another log",
    async (file) => writeFile(file, (await readFile(file, "utf8")).replace("/acme", "/other")),
  ],
])("a signer whose last checkpoint %s signs nothing until somebody has put one there", async (_, spoil) => {
  await using database = await cloneAuditDatabase();
  await using signing = await makeSigning();
  {
    await using signed = await start(database, signing);
    await signed.deliver([makeEvent()]);
    await signed.sealed();
  }
  const file = join(signing.home, `${tenant}.checkpoint`);
  await copyFile(file, `${file}.kept`);
  await spoil(file);
  await using signed = await start(database, signing);
  await signed.refused("state_unusable");
  await signed.deliver([makeEvent()]);
  expect(await signed.newest()).toEqual({ size: 1, unsealed: 1 });

  await copyFile(`${file}.kept`, file);
  await signed.recovered();
  expect(await signed.newest()).toEqual({ size: 2, unsealed: 0 });
});

test("a checkpoint that was signed and never stored is stored as it was signed, and one that only the database has is kept", async () => {
  await using database = await cloneAuditDatabase();
  await using signing = await makeSigning();
  const file = join(signing.home, `${tenant}.checkpoint`);
  for (let round = 0; round < 2; round++) {
    await using signed = await start(database, signing);
    await signed.deliver([makeEvent()]);
    await signed.sealed();
    if (round === 0) await copyFile(file, `${file}.kept`);
  }
  const last = await signing.lastNote(tenant);
  await withSuperuser(database, (superuser) =>
    superuser.query("DELETE FROM checkpoints WHERE tree_size = 2"),
  );
  {
    await using signed = await start(database, signing); // As after a crash between the two.
    await signed.sealed();
    const auditor = await signed.audit.auditor(tenant);
    expect((await auditor.getCheckpoint({})).checkpoint).toBe(last);
  }
  await copyFile(`${file}.kept`, file); // As after the folder was put back.
  await using _signed = await start(database, signing);
  await waitUntil(async () => (await signing.lastNote(tenant)) === last);
  expect(await withSuperuser(database, storedSizes)).toEqual([1, 2]);
});

test("one process at a time signs from a folder", async () => {
  await using database = await cloneAuditDatabase();
  await using signing = await makeSigning();
  await using _signed = await start(database, signing);
  await expect(startAuditService({ database, signing })).rejects.toThrow(
    `${signing.home} is in use by process ${process.pid}`,
  );
});

test("what others append is found without being told, and so is a quiet log of the release before", async () => {
  await using database = await cloneAuditDatabase();
  await appendAsReleased(database.appUrl, tenant, 600);
  await using signing = await makeSigning();
  await using signed = await start(database, signing);
  await signed.sealed();
  expect(await signed.newest()).toEqual({ size: 600, unsealed: 0 });

  await using other = await startAuditService({ database });
  await (await other.source()).recordEvents({ events: [makeEvent().bytes] });
  await signed.sealed();
  expect(await signed.newest()).toEqual({ size: 601, unsealed: 0 });
  await withSuperuser(database, expectSoundTrees);
});

test("a log gets one checkpoint a second at most, however often it is appended to, and every log gets its own", async () => {
  await using database = await cloneAuditDatabase();
  await using signing = await makeSigning();
  await using signed = await start(database, signing);
  const startedAt = performance.now();
  const appends = 60;
  for (let append = 0; append < appends; append++) {
    await signed.deliver([makeEvent()]);
    await signed.deliver([makeEvent({ tenantId: "neighbour" })]);
  }
  await signed.sealed();
  await untilSealed(await signed.audit.auditor("neighbour"));
  const elapsedSeconds = (performance.now() - startedAt) / 1_000;
  const { rows } = await withSuperuser(database, (superuser) =>
    superuser.query("SELECT tenant_id, count(*)::int FROM checkpoints GROUP BY tenant_id ORDER BY 1"),
  );
  expect(rows.map(({ tenant_id }) => tenant_id)).toEqual([tenant, "neighbour"]);
  for (const { count } of rows) {
    expect(count).toBeLessThanOrEqual(elapsedSeconds + 1);
    expect(count, "fewer than appends, or the test says nothing").toBeLessThan(appends);
  }
});

test.each([
  ["no key", {}, /keys holds 0 keys/],
  ["a key that is none", { "2.pem": "-----BEGIN PRIVATE KEY-----" }, /2\.pem holds no Ed25519 private key/],
])(
  "with %s the service does not start, and says which file it is and nothing of it",
  async (_, files, message) => {
    await using database = await cloneAuditDatabase();
    await using signing = await makeSigning();
    if (Object.keys(files).length === 0) await signing.removeKey("1.pem");
    for (const [name, text] of Object.entries(files)) await writeFile(join(signing.keys, name), text);
    const failure = await startAuditService({ database, signing }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ message: expect.stringMatching(message) });
    expect(String(failure)).not.toContain("BEGIN");
  },
);
