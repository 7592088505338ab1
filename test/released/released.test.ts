import { expect, test } from "vitest";
import pg from "pg";
import { cloneAuditDatabase, cloneCaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { fromTapeValue, listTapes, readTape } from "./tape.ts";

expectNoLeaks();

/*
 * While a new release migrates, the one before is still running. Each released version left a tape of what it sends; here it is
 * played, by the same roles, on today's schema.
 */

test("at least one released version left a tape", async () => {
  expect(await listTapes()).not.toEqual([]);
});

test.each(await listTapes())(
  "today's schema answers every statement of release %s as that release's own did",
  async (version) => {
    await using cases = await cloneCaseDatabase();
    await using audit = await cloneAuditDatabase();
    await using opened = new AsyncDisposableStack();
    const urls: Record<string, string> = {
      case_app: cases.appUrl,
      case_relay: cases.relayUrl,
      audit_app: audit.appUrl,
    };
    const clients = new Map<string, pg.Client>();
    for (const [role, connectionString] of Object.entries(urls)) {
      const client = new pg.Client({ connectionString });
      await client.connect();
      opened.defer(() => client.end());
      clients.set(role, client);
    }
    const wrote = new Set<string>();
    for (const { role, commands } of await readTape(version)) {
      for (const { text, values = [], command, rowCount } of commands) {
        const answer = await clients.get(role)!.query(text, values.map(fromTapeValue));
        const last = Array.isArray(answer) ? (answer as pg.QueryResult[]).at(-1)! : answer;
        expect({ command: last.command, rowCount: last.rowCount ?? 0 }, text).toEqual({ command, rowCount });
        const [table] = /(?<=INSERT INTO |UPDATE |DELETE FROM )\w+/.exec(text) ?? [];
        if (table !== undefined && rowCount > 0) wrote.add(table);
      }
    }
    expect([...wrote]).toEqual(expect.arrayContaining(["cases", "outbox", "events"]));
  },
);
