import { afterAll, beforeAll, expect, test } from "vitest";
import { openSession } from "#libs/pg/session.ts";
import { cloneAuditDatabase } from "#test/support/databases.ts";
import type { EventFilter } from "../domain/event.ts";
import { listEvents } from "./list-events.ts";

const stack = new AsyncDisposableStack();
let app: Awaited<ReturnType<typeof openSession>>;

beforeAll(async () => {
  const database = stack.use(await cloneAuditDatabase());
  const open = async (url: string) =>
    stack.use(
      await openSession({ url, applicationName: "test", connectTimeoutMs: 5_000, onError: () => {} }),
    );
  app = await open(database.appUrl);
  const superuser = await open(database.superuserUrl);
  // Two tenants' logs, of which conditions fit a twentieth or less.
  await superuser.query(`
    INSERT INTO events (
      tenant_id, leaf_index, event_id, source, type, subject, subject_sequence, actor_id,
      on_behalf_of, request_id, correlation_id, occurred_at, recorded_at, received_at, digest, bytes
    )
    SELECT tenant, i, gen_random_uuid(), 'source-' || i % 20, 'type-' || i % 20, 'subject-' || i, 1,
           'actor-' || i % 20, 'grace-' || i % 20, gen_random_uuid(), 'undertaking-' || i % 20,
           timestamptz '2026-01-01Z' + i * interval '1 hour', now(), now(), sha256(convert_to(i::text, 'UTF8')),
           convert_to(i::text, 'UTF8')
      FROM unnest(ARRAY['acme', 'other']) AS tenant, generate_series(0, 4999) AS i`);
  await superuser.query("ANALYZE events");
});
afterAll(() => stack.disposeAsync());

const secondOfJanuary = BigInt(Date.UTC(2026, 0, 2)) * 1_000n;

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
  [
    "events_by_subject",
    "a subject and more",
    { subject: "subject-7", type: "type-7", actorId: "actor-7", source: "source-7" },
  ],
])("the application's role reads by %s, and not the whole table, given %s", async (index, _, filter) => {
  const weight = { bytesMax: 4_000_000, perEventByte: 2, perEvent: 128 };
  const query = listEvents({ tenantId: "acme", filter, afterLeafIndex: 10n, pageSize: 50, weight });
  await app.query("BEGIN; SET LOCAL app.tenant_id = 'acme'");
  await app.query("SET LOCAL plan_cache_mode = force_custom_plan");
  const { rows } = await app.query(`EXPLAIN ${query.text}`, [...query.values]);
  await app.query("ROLLBACK");

  const plan = rows.map((row: { "QUERY PLAN": string }) => row["QUERY PLAN"]).join("\n");
  expect(plan).toContain(`using ${index} on events`);
  expect(plan).not.toContain("Seq Scan");
});
