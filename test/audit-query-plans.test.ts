import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Statement } from "#libs/pg/statement.ts";
import { findLogHead, listSignedLogs, listVerifierKeys } from "#services/audit/store/checkpoints.ts";
import { findEvent } from "#services/audit/store/events.ts";
import { keyLookups } from "#services/audit/store/key-lookups.ts";
import { listEvents } from "#services/audit/store/list-events.ts";
import { readLeafDigest, readLogEnd } from "#services/audit/store/log-end.ts";
import { lockLog, saveLog } from "#services/audit/store/logs.ts";
import { readOpenLeaves, readOpenRoots } from "#services/audit/store/open-tiles.ts";
import { findTile, insertTiles, listLeafHashes, listTileRoots } from "#services/audit/store/tiles.ts";
import { cloneAuditDatabase } from "./support/databases.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { events, fillWithManyEvents, tenants, type TenantName } from "./support/many-events.ts";
import { effortOf, type Effort } from "./support/query-effort.ts";
import { openSuperuser } from "./support/superuser.ts";

expectNoLeaks();

/* Statements of the audit store, run as its roles run them, on 100,000 events: how many pages and rows each visits. */

const stack = new AsyncDisposableStack();
let client: Client;

beforeAll(async () => {
  const database = stack.use(await cloneAuditDatabase());
  client = stack.use(await openSuperuser(database.superuserUrl));
  await fillWithManyEvents(client);
}, 120_000);
afterAll(() => stack.disposeAsync());

type Make = (tenant: TenantName) => Statement;

/** A tile has 256 hashes; each row is taken up by up to five nodes of its plan. */
const tileEffort = { buffers: 400, rows: 5 * 256 + 20 };
const oneEffort = { buffers: 40, rows: 20 };

const eventId = "00000000-0000-7000-8000-000000000020";
const weight = { bytesMax: 4_000_000, perEventByte: 2, perEvent: 128 };
const lastTile = (tenant: TenantName) => Math.floor(events[tenant] / 256);
const tile = { level: 5, index: 7, hashes: Buffer.alloc(8_192), root: Buffer.alloc(32) };

const statements: readonly (readonly [string, "audit_app" | "audit_signer", Effort, Make])[] = [
  ["an event with its checkpoint", "audit_app", oneEffort, (tenant) => findEvent(tenant, eventId)],
  ["a log's head", "audit_app", oneEffort, findLogHead],
  ["a log's head, for the signer", "audit_signer", oneEffort, findLogHead],
  ["keys", "audit_app", oneEffort, listVerifierKeys],
  ["a log's end", "audit_app", oneEffort, readLogEnd],
  ["a leaf's digest", "audit_app", oneEffort, (tenant) => readLeafDigest(tenant, 7n)],
  ["a full tile", "audit_app", oneEffort, (tenant) => findTile(tenant, 0, 0)],
  ["a full tile, for the signer", "audit_signer", oneEffort, (tenant) => findTile(tenant, 0, 0)],
  [
    "the leaves of a partial tile",
    "audit_signer",
    tileEffort,
    (tenant) => listLeafHashes(tenant, lastTile(tenant) * 256, events[tenant]),
  ],
  ["the leaves of a whole tile", "audit_app", tileEffort, (tenant) => listLeafHashes(tenant, 0, 256)],
  ["roots of a whole tile", "audit_app", tileEffort, (tenant) => listTileRoots(tenant, 0, 0, 256)],
  // A page of fifty, each with a look for its checkpoint.
  [
    "a page of events",
    "audit_app",
    { buffers: 500, rows: 600 },
    (tenant) => listEvents({ tenantId: tenant, filter: {}, afterLeafIndex: 99n, pageSize: 50, weight }),
  ],
  ["every log", "audit_signer", { buffers: 60, rows: 40 }, () => listSignedLogs("", 1_000)],
];

test.each(statements)("%s, read as %s, takes a fixed effort, whatever the log's size", async (...given) => {
  const [name, role, most, make] = given;
  for (const tenant of tenants) expectBelow(await effortOf(client, role, tenant, make(tenant)), most, name);
});

const writes: readonly (readonly [string, Effort, Make])[] = [
  ["the lock", oneEffort, lockLog],
  ["no leaves, as no tile is filled", oneEffort, (tenant) => readOpenLeaves(tenant, 1, 4_096)],
  ["the leaves of the tile that is filled", tileEffort, (tenant) => readOpenLeaves(tenant, 500, 4_096)],
  ["no roots, as no tile of level 1 is filled", oneEffort, (tenant) => readOpenRoots(tenant, 500)],
  ["the roots in the tile that is filled", tileEffort, (tenant) => readOpenRoots(tenant, 65_536)],
  ["a tile", oneEffort, (tenant) => insertTiles(tenant, [tile])],
  [
    "size and tree",
    oneEffort,
    (tenant) => saveLog(tenant, BigInt(events[tenant]) + 1n, { size: 1, edge: [Buffer.alloc(32)] }),
  ],
];

test.each(writes)(
  "an append that reads or writes %s takes a fixed effort, whatever the log's size",
  async (...given) => {
    const [name, most, make] = given;
    for (const tenant of tenants) {
      expectBelow(await effortOf(client, "audit_app", tenant, make(tenant), keyLookups), most, name);
    }
  },
);

function expectBelow(effort: Effort, most: Effort, name: string): void {
  expect(effort.buffers, `buffers of ${name}`).toBeLessThan(most.buffers);
  expect(effort.rows, `rows of ${name}`).toBeLessThan(most.rows);
}
