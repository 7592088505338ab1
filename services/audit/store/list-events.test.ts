import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cloneAuditDatabase } from "#test/support/databases.ts";
import { effortOf } from "#test/support/query-effort.ts";
import { openSuperuser } from "#test/support/superuser.ts";
import type { EventFilter } from "../domain/event.ts";
import { listEvents } from "./list-events.ts";

const stack = new AsyncDisposableStack();
let superuser: Client;

const logSize = 5_000;

beforeAll(async () => {
  const database = stack.use(await cloneAuditDatabase());
  superuser = stack.use(await openSuperuser(database.superuserUrl));
  // Two tenants' logs, of which conditions fit a twentieth or less. Times grow as the log does.
  await superuser.query(`
    INSERT INTO events (
      tenant_id, leaf_index, event_id, source, type, subject, subject_sequence, actor_id,
      on_behalf_of, request_id, correlation_id, occurred_at, recorded_at, received_at, digest, bytes
    )
    SELECT tenant, i, gen_random_uuid(), 'source-' || i % 20, 'type-' || i % 20, 'subject-' || i, 1,
           'actor-' || i % 20, 'grace-' || i % 20, gen_random_uuid(), 'undertaking-' || i % 20,
           hour, hour + interval '1 second', hour + interval '2 seconds', sha256(convert_to(i::text, 'UTF8')),
           convert_to(i::text, 'UTF8')
      FROM unnest(ARRAY['acme', 'other']) AS tenant, generate_series(0, ${logSize - 1}) AS i,
           LATERAL (SELECT timestamptz '2026-01-01Z' + i * interval '1 hour') AS at (hour)`);
  await superuser.query("ANALYZE events");
});
afterAll(() => stack.disposeAsync());

const secondOfJanuary = hour(24);

/** The time at which the event of that leaf index occurred. */
function hour(leafIndex: number): bigint {
  return BigInt(Date.UTC(2026, 0, 1, leafIndex)) * 1_000n;
}

const query = (filter: EventFilter, afterLeafIndex: bigint) =>
  listEvents({
    tenantId: "acme",
    filter,
    afterLeafIndex,
    pageSize: 50,
    weight: { bytesMax: 4_000_000, perEventByte: 2, perEvent: 128 },
  });

test.each<[string, string, EventFilter]>([
  ["events_pkey", "nothing", {}],
  ["events_by_source", "a source", { source: "source-7" }],
  ["events_by_type", "a type", { type: "type-7" }],
  ["events_by_subject", "a subject", { subject: "subject-7" }],
  ["events_by_actor", "an actor", { actorId: "actor-7" }],
  ["events_by_on_behalf_of", "a person acted for", { onBehalfOf: "grace-7" }],
  ["events_by_request", "a request", { requestId: "0b9b6a4e-6f4b-4e4a-8f55-0d3f6f7c1a11" }],
  ["events_by_correlation", "an undertaking", { correlationId: "undertaking-7" }],
  ["events_by_occurred_at", "an end of time", { occurredBeforeMicros: secondOfJanuary }],
  [
    "events_by_occurred_at",
    "a start and an end of time",
    { occurredFromMicros: secondOfJanuary, occurredBeforeMicros: secondOfJanuary + 1_000_000n },
  ],
  ["events_by_recorded_at", "an end of recording", { recordedBeforeMicros: secondOfJanuary }],
  [
    "events_by_recorded_at",
    "a start and an end of recording",
    { recordedFromMicros: hour(4_000), recordedBeforeMicros: hour(4_100) },
  ],
  ["events_by_received_at", "a start of receipt", { receivedFromMicros: hour(4_900) }],
  [
    "events_by_received_at",
    "a start and an end of receipt",
    { receivedFromMicros: hour(4_000), receivedBeforeMicros: hour(4_100) },
  ],
  [
    "events_by_subject",
    "a subject and more",
    { subject: "subject-7", type: "type-7", actorId: "actor-7", source: "source-7" },
  ],
])("the application's role reads by %s, and not the whole table, given %s", async (index, _, filter) => {
  const { text, values } = query(filter, 10n);
  await superuser.query("BEGIN; SET LOCAL ROLE audit_app; SET LOCAL app.tenant_id = 'acme'");
  await superuser.query("SET LOCAL plan_cache_mode = force_custom_plan");
  const { rows } = await superuser.query(`EXPLAIN ${text}`, [...values]);
  await superuser.query("ROLLBACK");

  const plan = rows.map((row: { "QUERY PLAN": string }) => row["QUERY PLAN"]).join("\n");
  expect(plan).toMatch(new RegExp(`using ${index} on events|Bitmap Index Scan on ${index}`));
  expect(plan).not.toContain("Seq Scan");
});

test("whatever is asked for together, a connection keeps two texts of it", () => {
  const times = { occurredFromMicros: 1n, occurredBeforeMicros: 2n, recordedFromMicros: 3n };
  const conditions = Object.entries({ source: "s", type: "t", subject: "j", actorId: "a", ...times });
  const texts = new Map<string, Set<string>>();
  for (let asked = 0; asked < 2 ** conditions.length; asked++) {
    const filter = Object.fromEntries(conditions.filter((_, at) => (asked >> at) % 2 === 1));
    const { name, text } = query(filter, -1n);
    texts.set(name, (texts.get(name) ?? new Set()).add(text));
  }
  expect([...texts.values()].map(({ size }) => size)).toEqual([1, 1]);
});

test.each<[string, EventFilter]>([
  ["every event", {}],
  ["an actor's events", { actorId: "actor-7" }],
  ["a year's events", { recordedFromMicros: hour(0), recordedBeforeMicros: hour(logSize) }],
])("a page deep in the log takes as much as the first, of %s", async (_, filter) => {
  const first = await effortOf(superuser, "audit_app", "acme", query(filter, -1n));
  const deep = await effortOf(superuser, "audit_app", "acme", query(filter, BigInt(logSize / 2)));
  expect(first.read).toBeGreaterThan(50);
  expect({ rows: deep.rows, read: deep.read }).toEqual({ rows: first.rows, read: first.read });
  expect(deep.buffers).toBeLessThanOrEqual(first.buffers + 20); // The way down the index, and where its pages end.
});

test.each<[string, EventFilter, bigint]>([
  ["begins", { receivedFromMicros: hour(4_600), receivedBeforeMicros: hour(4_800) }, -1n],
  ["ends", { recordedFromMicros: hour(200), recordedBeforeMicros: hour(400) }, 390n],
  [
    "begins, given an actor,",
    { occurredFromMicros: hour(4_500), occurredBeforeMicros: hour(4_700), actorId: "actor-7" },
    -1n,
  ],
])("where a range of time %s, a page does not walk the log to its other end", async (_, filter, after) => {
  const { read } = await effortOf(superuser, "audit_app", "acme", query(filter, after));
  expect(read).toBeLessThan(logSize / 2);
});

test("a range of time is found whole, wherever in the log it lies, also where times do not grow as the log does", async () => {
  await superuser.query("BEGIN");
  // The last event of the log is of the beginning of time, and the first of its end.
  await superuser.query(
    `UPDATE events SET recorded_at = timestamptz '2026-01-01Z' + (${logSize} - leaf_index) * interval '1 hour' WHERE tenant_id = 'acme' AND leaf_index % 3 = 0`,
  );
  const filter = { recordedFromMicros: hour(4_500), recordedBeforeMicros: hour(4_800) };
  const found: string[] = [];
  for (let after = -1n; ;) {
    const { text, values } = query(filter, after);
    const { rows } = await superuser.query<{ leaf_index: string; found: string }>(text, [...values]);
    found.push(...rows.map((row) => row.leaf_index));
    if (rows.length < 50) break;
    after = BigInt(rows.at(-1)!.leaf_index);
  }
  const expected = await superuser.query<{ leaf_index: string }>(
    `SELECT leaf_index FROM events WHERE tenant_id = 'acme' AND recorded_at >= timestamptz '2026-01-01Z' + interval '4500 hours'
        AND recorded_at < timestamptz '2026-01-01Z' + interval '4800 hours' ORDER BY leaf_index`,
  );
  await superuser.query("ROLLBACK");
  expect(found).toEqual(expected.rows.map((row) => row.leaf_index));
  expect(found.length).toBeGreaterThan(250);
});
