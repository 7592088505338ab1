import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { expect, test } from "vitest";
import { migrate } from "#libs/pg/migrate.ts";
import { laneOf } from "#services/case/domain/lane.ts";
import { cloneCaseDatabase, type CaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";
import { waitUntil } from "../support/wait-until.ts";
import { fromTapeValue, listTapes, readTape, type TapeTransaction, type TapeValue } from "./tape.ts";

expectNoLeaks();

/*
 * A release migrates while the one before is at work. Its tape is played by several writers at once, again and again, each time
 * for another tenant, from before the first migration until after the last: they may have to wait, and no more.
 */

/** The last migration that each release had. */
const lastMigration: Readonly<Record<string, number>> = { "0.1.0": 1 };
const folder = fileURLToPath(new URL("../../services/case/migrations", import.meta.url));
const writerCount = 4;
/** So many transactions each writer does before, between and after the migrations. */
const transactionsBetween = 15;

test.each(await listTapes())(
  "while today's migrations are applied release %s goes on writing: nothing that it does fails, and nothing is lost",
  async (version) => {
    const from = lastMigration[version];
    if (from === undefined) throw new Error(`lastMigration does not say where release ${version} ended`);
    const last = (await readdir(folder)).length;
    await using database = await createDatabaseAt(from);
    const tape = (await readTape(version)).filter(({ role }) => role.startsWith("case_"));
    await using traffic = await startTraffic(database, tape);

    for (let to = from + 1; to <= last; to++) {
      await traffic.goOn();
      const { applied } = await migrate({ url: database.ownerUrl, folder, to });
      expect(applied).toHaveLength(1);
    }
    await traffic.goOn();

    const tenants = await traffic.finish();
    expect(tenants.length).toBeGreaterThanOrEqual(writerCount);
    const [before, ...during] = await Promise.all(tenants.map((tenant) => storedOf(database, tenant)));
    expect(before).toMatchObject({ cases: 4 });
    for (const stored of during) expect(stored).toEqual(before);
  },
);

/** A case database as it was after the migration of that number. */
async function createDatabaseAt(to: number): Promise<CaseDatabase> {
  const database = await cloneCaseDatabase("template0");
  await using superuser = await openSuperuser(database.superuserUrl);
  await superuser.query("GRANT USAGE ON SCHEMA public TO case_app, case_relay");
  await migrate({ url: database.ownerUrl, folder, to });
  return database;
}

interface Traffic extends AsyncDisposable {
  /** Waits until every writer has done some more. Throws when one has failed. */
  goOn(): Promise<void>;
  /** Lets every writer finish its tape; returns the tenants that it was played for, the first from before the writers began. */
  finish(): Promise<readonly string[]>;
}

async function startTraffic(database: CaseDatabase, tape: readonly TapeTransaction[]): Promise<Traffic> {
  await using opened = new AsyncDisposableStack();
  const writers = await Promise.all(
    Array.from({ length: writerCount }, async () => opened.use(await openWriter(database))),
  );
  const tenants = tenantsInLaneOf("acme");
  const finished: string[] = [];
  const playOnce = async (writer: Writer): Promise<void> => {
    const { value: tenant } = tenants.next();
    for (const transaction of tape) await writer.play(transaction, tenant);
    finished.push(tenant);
  };
  await playOnce(writers[0]!);
  const stop = new AbortController();
  let failed = false;
  const working = Promise.all(
    writers.map(async (writer) => {
      while (!stop.signal.aborted) await playOnce(writer);
    }),
  );
  working.catch(() => (failed = true));
  const running = opened.move();
  return {
    async goOn() {
      const enough = writers.map(({ played }) => played() + transactionsBetween);
      await waitUntil(async () => failed || writers.every(({ played }, index) => played() >= enough[index]!));
      if (failed) await working;
    },
    async finish() {
      stop.abort();
      await working;
      return finished;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.allSettled([working]);
      await running.disposeAsync();
    },
  };
}

interface Writer extends AsyncDisposable {
  /** Does what the release did in one transaction; throws when the answer is another. */
  play(transaction: TapeTransaction, tenant: string): Promise<void>;
  /** How many transactions it has done. */
  played(): number;
}

/** A service and its relay: a connection of each role, kept all the time, with prepared statements. */
async function openWriter({ appUrl, relayUrl }: CaseDatabase): Promise<Writer> {
  const app = new pg.Client({ connectionString: appUrl });
  const relay = new pg.Client({ connectionString: relayUrl });
  await Promise.all([app.connect(), relay.connect()]);
  let played = 0;
  return {
    async play({ role, commands }, tenant) {
      const client = role === "case_relay" ? relay : app;
      for (const { text, values, command, rowCount } of commands) {
        const own = forTenant(text, tenant);
        const answer = await (values === undefined
          ? client.query(own)
          : client.query({
              name: nameOf(own),
              text: own,
              values: values.map((value) => valueFor(value, tenant)),
            }));
        const last = Array.isArray(answer) ? (answer as pg.QueryResult[]).at(-1)! : answer;
        // The relay also sees what is of others.
        const seesOthers = client === relay && command === "SELECT";
        expect(
          { command: last.command, ...(!seesOthers && { rowCount: last.rowCount ?? 0 }) },
          `${text} for ${tenant}`,
        ).toEqual({ command, ...(!seesOthers && { rowCount }) });
      }
      played++;
    },
    played: () => played,
    async [Symbol.asyncDispose]() {
      await Promise.all([app.end(), relay.end()]);
    },
  };
}

/** Its time limit was what was left in the recording; here the wait is for a migration on a busy machine. */
function forTenant(text: string, tenant: string): string {
  return text
    .replace("app.tenant_id = 'acme'", `app.tenant_id = '${tenant}'`)
    .replace(/statement_timeout = '\d+'/, "statement_timeout = '60000'");
}

function valueFor(value: TapeValue, tenant: string): unknown {
  return fromTapeValue(value === "acme" ? tenant : value);
}

function nameOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

/** Names of tenants whose outbox rows are in the same lane, which the recorded values name. */
function* tenantsInLaneOf(tenant: string): Generator<string, never> {
  const lane = (name: string): number => laneOf(createHash("sha256").update(name).digest());
  for (let index = 0; ; index++) if (lane(`t-${index}`) === lane(tenant)) yield `t-${index}`;
}

/** How many rows a tenant has in each table. */
async function storedOf({ superuserUrl }: CaseDatabase, tenant: string): Promise<Record<string, number>> {
  await using superuser = await openSuperuser(superuserUrl);
  const { rows: tables } = await superuser.query<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.columns
      WHERE table_schema = 'public' AND column_name = 'tenant_id' ORDER BY table_name`,
  );
  const stored: Record<string, number> = {};
  for (const { name } of tables) {
    const { rows } = await superuser.query(`SELECT count(*)::integer FROM ${name} WHERE tenant_id = $1`, [
      tenant,
    ]);
    stored[name] = rows[0].count;
  }
  return stored;
}
