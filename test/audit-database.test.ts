import { createHash, randomUUID } from "node:crypto";
import pg, { DatabaseError } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAuditService, testSource, type AuditServiceFixture } from "./support/audit-service.ts";
import { makeChain } from "./support/events.ts";

const insufficientPrivilege = "42501";
const stack = new AsyncDisposableStack();
const chain = makeChain(3);
let audit: AuditServiceFixture;
let app: pg.Client;
let owner: pg.Client;
let signer: pg.Client;

beforeAll(async () => {
  audit = stack.use(await startAuditService());
  const source = await audit.source();
  await source.recordEvents({ events: chain.map(({ bytes }) => bytes) });
  await source.recordEvents({ events: makeChain(2, { tenantId: "other" }).map(({ bytes }) => bytes) });
  app = await connect(audit.database.appUrl);
  owner = await connect(audit.database.ownerUrl);
  signer = await connect(audit.database.signerUrl);
});
afterAll(() => stack.disposeAsync());

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  stack.defer(() => client.end());
  return client;
}

/** Runs one statement for a tenant and undoes it; without a tenant when it is `undefined`. */
async function attempt(client: pg.Client, tenant: string | undefined, text: string): Promise<pg.QueryResult> {
  await client.query("BEGIN");
  try {
    if (tenant !== undefined) await client.query(`SET LOCAL app.tenant_id = '${tenant}'`);
    return await client.query(text);
  } finally {
    await client.query("ROLLBACK");
  }
}

/** SQLSTATE, with the constraint that was broken if one was. */
async function faultOf(result: Promise<unknown>): Promise<string> {
  try {
    await result;
    return "none";
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    return error.constraint ?? error.code ?? "";
  }
}

test.each([
  "UPDATE events SET bytes = bytes",
  "UPDATE events SET received_at = now() WHERE leaf_index = 0",
  "DELETE FROM events",
  "DELETE FROM events WHERE leaf_index = 2",
  "TRUNCATE events",
  "TRUNCATE events CASCADE",
  "SELECT 1 FROM events FOR UPDATE",
  "DELETE FROM logs",
  "UPDATE logs SET tenant_id = 'x'",
  "TRUNCATE logs",
  "DELETE FROM subject_heads",
  "UPDATE subject_heads SET subject = 'x'",
  "UPDATE tiles SET hashes = hashes",
  "DELETE FROM tiles",
  "INSERT INTO checkpoints (tenant_id, tree_size, note, sealed_at) VALUES ('acme', 3, 'x', now())",
  "UPDATE checkpoints SET note = 'x'",
  "DELETE FROM checkpoints",
  "INSERT INTO verifier_keys (tenant_id, vkey, active_from) VALUES ('acme', 'x', now())",
  "DELETE FROM verifier_keys",
  "ALTER TABLE events DISABLE ROW LEVEL SECURITY",
  "ALTER TABLE events NO FORCE ROW LEVEL SECURITY",
  "DROP POLICY of_tenant ON events",
  "ALTER TABLE events DROP CONSTRAINT events_digest_holds",
  "DROP TABLE events",
  "CREATE TABLE mine (id int)",
  "SET ROLE audit_owner",
])("the application's role may not: %s", async (text) => {
  expect(await faultOf(attempt(app, "acme", text))).toBe(insufficientPrivilege);
});

test.each([
  "UPDATE checkpoints SET note = 'x'",
  "DELETE FROM checkpoints",
  "TRUNCATE checkpoints",
  "SELECT 1 FROM checkpoints FOR UPDATE",
  "UPDATE verifier_keys SET active_from = now()",
  "DELETE FROM verifier_keys",
  "UPDATE logs SET size = size",
  "INSERT INTO events DEFAULT VALUES",
  "INSERT INTO tiles DEFAULT VALUES",
  "SELECT actor_id FROM events",
  "SELECT 1 FROM subject_heads",
])("the signer's role may not: %s", async (text) => {
  expect(await faultOf(attempt(signer, undefined, text))).toBe(insufficientPrivilege);
});

test("the signer's role sees the logs of all tenants, and what it can add is a checkpoint of any", async () => {
  const { rows } = await attempt(signer, undefined, "SELECT DISTINCT tenant_id FROM logs ORDER BY 1");
  expect(rows).toEqual([{ tenant_id: "acme" }, { tenant_id: "other" }]);
  const add =
    "INSERT INTO checkpoints (tenant_id, tree_size, note, sealed_at) VALUES ('acme', 3, 'x', now())";
  expect(await faultOf(attempt(signer, undefined, add))).toBe("none");
});

const tile = (changes: { level?: number; index?: number; hashes?: number; root?: number }) => {
  const { level = 0, index = 0, hashes = 8_192, root = 32 } = changes;
  const zeros = (count: number) => `'\\x${"00".repeat(count)}'`;
  return `INSERT INTO tiles (tenant_id, level, tile_index, hashes, root) VALUES ('acme', ${level}, ${index}, ${zeros(hashes)}, ${zeros(root)})`;
};

test.each([
  ["a full tile", "none", tile({})],
  ["a tile of 255 hashes", "tiles_full", tile({ hashes: 8_160 })],
  ["a tile whose root is none", "tiles_root_is_sha256", tile({ root: 31 })],
  ["a tile of level 6", "tiles_level_in_range", tile({ level: 6 })],
  ["a tile before the first", "tiles_index_from_zero", tile({ index: -1 })],
  ["a log smaller than its tree", "logs_tree_within_log", "UPDATE logs SET size = tree_size - 1"],
  ["a tree with a root too few", "logs_tree_edge_fits", "UPDATE logs SET tree_edge = substr(tree_edge, 33)"],
  ["a tree with another edge's length", "logs_tree_edge_fits", "UPDATE logs SET tree_size = 2"],
])("written by hand, %s: %s", async (_, constraint, text) => {
  expect(await faultOf(attempt(app, "acme", text))).toBe(constraint);
});

test.each(["events", "logs", "subject_heads"])("%s of other tenants cannot be seen", async (table) => {
  const tenantsFor = async (client: pg.Client, tenant: string | undefined) => {
    const { rows } = await attempt(client, tenant, `SELECT DISTINCT tenant_id FROM ${table}`);
    return rows.map((row: { tenant_id: string }) => row.tenant_id);
  };
  expect(await tenantsFor(app, "acme")).toEqual(["acme"]);
  expect(await tenantsFor(app, "other")).toEqual(["other"]);
  expect(await tenantsFor(app, "nobody")).toEqual([]);
  expect(await tenantsFor(app, "")).toEqual([]);
  expect(await tenantsFor(app, undefined)).toEqual([]);
  expect(await tenantsFor(owner, "acme"), "forced: it holds for the owner too").toEqual([]);
});

test.each([
  "INSERT INTO logs (tenant_id, size) VALUES ('other', 0) ON CONFLICT DO NOTHING",
  "INSERT INTO logs (tenant_id, size) VALUES ('third', 0)",
  eventOf({ tenantId: "other", leafIndex: 2 }),
])("nothing can be written for another tenant: %.60s", async (text) => {
  expect(await faultOf(attempt(app, "acme", text))).toBe(insufficientPrivilege);
});

test("a setting of another tenant ends with its transaction", async () => {
  await attempt(app, "acme", "SELECT 1");
  const { rows } = await app.query("SELECT count(*)::int AS count FROM events");
  expect(rows).toEqual([{ count: 0 }]);
});

interface HandWritten {
  readonly tenantId: string;
  readonly leafIndex: number;
  readonly eventId: string;
  readonly subject: string;
  readonly sequence: number;
  readonly digest: string;
  readonly bytes: string;
}

/** An INSERT of an event that fits at the end of tenant acme's log, unless `changes` say otherwise. */
function eventOf(changes: Partial<HandWritten> = {}): string {
  const bytes = "61";
  const row: HandWritten = {
    tenantId: "acme",
    leafIndex: 3,
    eventId: randomUUID(),
    subject: "s",
    sequence: 1,
    digest: sha256(bytes),
    bytes,
    ...changes,
  };
  return `
    INSERT INTO events (tenant_id, leaf_index, event_id, source, type, subject, subject_sequence,
                        actor_id, occurred_at, recorded_at, received_at, digest, bytes)
    VALUES ('${row.tenantId}', ${row.leafIndex}, '${row.eventId}', '${testSource}', 't',
            '${row.subject}', ${row.sequence}, 'a', now(), now(), now(),
            '\\x${row.digest}', '\\x${row.bytes}')`;
}

/** Hex to hex. */
function sha256(bytes: string): string {
  return createHash("sha256").update(bytes, "hex").digest("hex");
}

const [first] = chain;

const tooMany = "61".repeat(61_441);

test.each<[string, string, Partial<HandWritten>]>([
  ["nothing wrong", "none", {}],
  ["a taken place in the log", "events_pkey", { leafIndex: 2 }],
  ["a negative place in the log", "events_leaf_index_from_zero", { leafIndex: -1 }],
  ["a taken id", "events_id_once", { eventId: first!.eventId }],
  ["a taken sequence", "events_sequence_once", { subject: first!.subject }],
  ["a sequence of 0", "events_sequence_from_one", { sequence: 0 }],
  ["the digest of other bytes", "events_digest_holds", { digest: sha256("62") }],
  ["a digest of 31 bytes", "events_digest_holds", { digest: "00".repeat(31) }],
  ["bytes above 60 KiB", "events_size", { bytes: tooMany, digest: sha256(tooMany) }],
  ["a tenant that is none", "events_tenant_id_form", { tenantId: "Acme" }],
])("an event written by hand with %s: %s", async (_, constraint, changes) => {
  const tenant = changes.tenantId ?? "acme";
  expect(await faultOf(attempt(app, tenant, eventOf(changes)))).toBe(constraint);
});

/* The rules of Citus, as far as the catalogue tells them. */

test("every key leads with tenant_id", async () => {
  const { rows } = await owner.query<{ table: string; name: string; first: string }>(`
    SELECT conrelid::regclass::text AS table, conname AS name, attname AS first
      FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
     WHERE contype IN ('p', 'u', 'f') AND conrelid::regclass::text IN ('events', 'logs', 'subject_heads')`);
  expect(rows.length).toBeGreaterThanOrEqual(5);
  expect(rows.filter((row) => row.first !== "tenant_id")).toEqual([]);
});

test("there are no triggers, sequences or identities", async () => {
  const { rows } = await owner.query(`
    SELECT 'trigger ' || tgname AS what FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'sequence ' || relname FROM pg_class WHERE relkind = 'S'
    UNION ALL SELECT 'identity ' || attname FROM pg_attribute WHERE attidentity <> ''`);
  expect(rows).toEqual([]);
});
