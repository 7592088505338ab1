import { createHash, randomBytes, randomUUID } from "node:crypto";
import { copyFile } from "node:fs/promises";
import { parse } from "csv-parse/sync";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AuditClient } from "#libs/client/audit-client.ts";
import {
  AccessMethod,
  ExportFormat,
  type ExportEventsRequestSchema,
  type ExportEventsResponse,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { openNote, readVerifierKey } from "#libs/merkle/signed-note.ts";
import { startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { storeCheckpoint } from "./support/checkpoints.ts";
import { makeEvent, withUnknownField, type EventChanges, type TestEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { makeSigning, untilSealed } from "./support/signing.ts";
import { openSuperuser } from "./support/superuser.ts";
import { createIssuer } from "./support/tokens.ts";
import { waitUntil } from "./support/wait-until.ts";

expectNoLeaks();

type Request = MessageInitShape<typeof ExportEventsRequestSchema>;

const stack = new AsyncDisposableStack();
let audit: AuditServiceFixture;
let source: AuditClient;

/** Nobody signs here: checkpoints are stored where a test wants them. */
beforeAll(async () => {
  audit = stack.use(await startAuditService());
  source = await audit.source();
});
afterAll(() => stack.disposeAsync());

const newTenant = () => `export-${randomUUID().slice(0, 8)}`;
const timeoutMs = 60_000;

async function append(
  tenant: string,
  count: number,
  changes: (at: number) => EventChanges = () => ({}),
  through = source,
) {
  const events = Array.from({ length: count }, (_, at) => makeEvent({ tenantId: tenant, ...changes(at) }));
  for (let at = 0; at < count; at += 40) {
    const batch = events.slice(at, at + 40);
    const { outcomes } = await through.recordEvents({ events: batch.map(({ bytes }) => bytes) });
    expect(outcomes.map(({ reason }) => reason)).toEqual(batch.map(() => ""));
  }
  return events;
}

const seal = (tenant: string, treeSize: number) =>
  storeCheckpoint(audit.database.superuserUrl, tenant, treeSize);

interface Exported {
  readonly pieces: readonly ExportEventsResponse[];
  readonly text: string;
  readonly lines: readonly string[];
  readonly manifest: string;
}

async function exportOf(client: AuditClient, request: Request = {}): Promise<Exported> {
  const pieces = await Array.fromAsync(client.exportEvents(request, { timeoutMs }));
  const text = Buffer.concat(pieces.map(({ data }) => data)).toString("utf8");
  return {
    pieces,
    text,
    lines: text.split("\n").slice(0, -1),
    manifest: pieces.at(-1)?.manifest ?? "",
  };
}

function toLine({ bytes }: TestEvent, leafIndex: number): string {
  return `{"leafIndex":${leafIndex},"event":"${Buffer.from(bytes).toString("base64")}"}`;
}

test("an export has exactly the leaves below the newest checkpoint, byte for byte, and that checkpoint in its last line", async () => {
  const tenant = newTenant();
  const events = await append(tenant, 30);
  await seal(tenant, 10);
  const checkpoint = await seal(tenant, 25);
  const auditor = await audit.auditor(tenant);
  const { lines, text } = await exportOf(auditor);
  expect(lines).toEqual([...events.slice(0, 25).map(toLine), JSON.stringify({ checkpoint })]);
  expect(text.endsWith("\n")).toBe(true);
  expect((await exportOf(auditor, { format: ExportFormat.NDJSON })).text).toBe(text);
});

test("an export from a leaf on has that leaf and those behind it, and none when there are none", async () => {
  const tenant = newTenant();
  const events = await append(tenant, 30);
  const checkpoint = await seal(tenant, 25);
  const auditor = await audit.auditor(tenant);
  const lines = events.slice(0, 25).map(toLine);
  for (const [from, expected] of [
    [0n, lines],
    [1n, lines.slice(1)],
    [24n, lines.slice(24)],
    [25n, []],
    [26n, []],
    [2n ** 53n - 1n, []],
  ] as const) {
    const exported = await exportOf(auditor, { fromLeafIndex: from });
    expect(exported.lines, `from ${from}`).toEqual([...expected, JSON.stringify({ checkpoint })]);
  }
  const { accesses } = await auditor.listAccesses({ pageSize: 1 });
  expect(accesses[0]?.filter).toBe('{"fromLeafIndex":"9007199254740991"}');
  expect(await refusalOf(exportOf(auditor, { fromLeafIndex: 2n ** 53n }))).toBe(
    "InvalidArgument INVALID_REQUEST",
  );
});

test("a log that was never signed is not exported", async () => {
  const tenant = newTenant();
  await append(tenant, 1);
  const auditor = await audit.auditor(tenant);
  expect(await refusalOf(exportOf(auditor))).toBe("NotFound CHECKPOINT_NOT_FOUND");
  expect((await auditor.listAccesses({})).accesses).toEqual([]);
});

test("what is appended and signed while an export is read is not in it", async () => {
  const tenant = newTenant();
  const large = () => randomBytes(40_000).toString("base64"); // Nothing that compresses.
  const events = await append(tenant, 60, () => ({ toState: large() }));
  const checkpoint = await seal(tenant, 60);
  const auditor = await audit.auditor(tenant);
  const reading = auditor.exportEvents({}, { timeoutMs })[Symbol.asyncIterator]();
  const pieces = [(await reading.next()).value.data];
  await append(tenant, 5);
  await seal(tenant, 65);
  for (let step = await reading.next(); !step.done; step = await reading.next()) {
    pieces.push(step.value.data);
    expect(step.value.data.length).toBeLessThanOrEqual(1024 * 1024);
  }
  expect(pieces.length).toBeGreaterThan(4);
  const lines = Buffer.concat(pieces).toString("utf8").trimEnd().split("\n");
  expect(lines).toEqual([...events.map(toLine), JSON.stringify({ checkpoint })]);
});

test("a filtered export has what fits of those leaves, in order, in each format", async () => {
  const tenant = newTenant();
  const events = await append(tenant, 20, (at) => ({ type: `test.thing.${at % 3}` }));
  await seal(tenant, 16);
  const auditor = await audit.auditor(tenant);
  const filter = { type: "test.thing.1", receivedFrom: { seconds: 1n } };
  const expected = [1, 4, 7, 10, 13];
  const { lines } = await exportOf(auditor, { filter });
  expect(lines.slice(0, -1)).toEqual(expected.map((at) => toLine(events[at]!, at)));

  const table = await exportOf(auditor, { filter, format: ExportFormat.CSV });
  const rows = parse<Record<string, string>>(table.text, { columns: true });
  expect(rows.map((row) => row["leaf_index"])).toEqual(expected.map(String));
  expect(rows.map((row) => row["event_id"])).toEqual(expected.map((at) => events[at]!.eventId));
  expect(rows.map((row) => row["digest"])).toEqual(
    expected.map((at) => Buffer.from(events[at]!.digest).toString("hex")),
  );

  const objects = (await exportOf(auditor, { filter, format: ExportFormat.CLOUDEVENTS })).lines.map(
    (line) => JSON.parse(line) as Record<string, string>,
  );
  expect(objects.map(({ leafindex }) => leafindex)).toEqual(expected.map(String));
  expect(objects.map(({ id }) => id)).toEqual(expected.map((at) => events[at]!.eventId));
});

test("the last message of an export says in a note signed by the log's key what the file holds", async () => {
  await using signing = await makeSigning();
  await using own = await startAuditService({ issuer: audit.issuer, signing });
  const tenant = newTenant();
  await append(tenant, 9, (at) => ({ type: `test.thing.${at % 2}` }), await own.source());
  const auditor = await own.auditor(tenant);
  const { checkpoint } = await untilSealed(auditor);
  const verifiers = (await signing.vkeys(tenant)).map(readVerifierKey);
  const { origin, size, root } = readCheckpoint(openNote(checkpoint, verifiers).text);
  expect(size).toBe(9);
  const filter = { type: "test.thing.1", actorId: "ada" };
  for (const [name, format] of [
    ["ndjson", ExportFormat.NDJSON],
    ["csv", ExportFormat.CSV],
    ["cloudevents", ExportFormat.CLOUDEVENTS],
  ] as const) {
    const { pieces, text, manifest } = await exportOf(auditor, { format, filter });
    const opened = openNote(manifest, verifiers);
    expect(opened.text).toBe(`caseflow export v1
origin: ${origin}
tenant: ${tenant}
format: ${name}
filter: {"actorId":"ada","type":"test.thing.1"}
first-leaf-index: 1
last-leaf-index: 7
event-count: 4
sha256: ${createHash("sha256").update(text).digest("base64")}
tree-size: 9
root-hash: ${Buffer.from(root).toString("base64")}
`);
    expect(() => readCheckpoint(opened.text), "it passes for no checkpoint").toThrow(SyntaxError);
    expect(pieces.slice(0, -1).every((piece) => piece.manifest === "")).toBe(true);
    expect(pieces.at(-1)!.data).toHaveLength(0);
  }
});

test("an export of nothing is an empty file, or what its format begins and ends with, and its manifest says so", async () => {
  await using own = await startAuditService({ issuer: audit.issuer, signing: true });
  const tenant = newTenant();
  await append(tenant, 3, () => ({}), await own.source());
  const auditor = await own.auditor(tenant);
  await untilSealed(auditor);
  const filter = { subject: "no\n\tbody\u007F\u2028" };
  expect((await exportOf(auditor, { filter })).lines).toHaveLength(1);
  const table = await exportOf(auditor, { filter, format: ExportFormat.CSV });
  expect(table.text).toMatch(/^leaf_index,[^\r\n]+\r\n$/);
  expect(table.manifest).toContain('\nfilter: {"subject":"no\\n\\tbody\u007F\u2028"}\n');
  expect(table.manifest).toContain("\nfirst-leaf-index: none\nlast-leaf-index: none\nevent-count: 0\n");
  expect((await exportOf(auditor, { filter, format: ExportFormat.CLOUDEVENTS })).text).toBe("");
});

test("without a key at hand an export has no manifest", async () => {
  const tenant = newTenant();
  await append(tenant, 1);
  await seal(tenant, 1);
  const { pieces, lines } = await exportOf(await audit.auditor(tenant));
  expect(lines).toHaveLength(2);
  expect(pieces.every(({ manifest }) => manifest === "")).toBe(true);
});

test("an export is in the access log when it begins and when it ends, with what was given", async () => {
  const tenant = newTenant();
  await append(tenant, 7);
  await seal(tenant, 5);
  const auditor = await audit.auditor(tenant);
  await exportOf(auditor, { filter: { actorId: "ada" } });
  const ends = { method: AccessMethod.EXPORT_EVENTS, filter: `{"actorId":"ada"}` };
  const { accesses } = await auditor.listAccesses({});
  expect(accesses).toMatchObject([
    { ...ends, outcome: "OK", givenCount: 5n, firstLeafIndex: 0n, lastLeafIndex: 4n },
    { ...ends, outcome: "BEGUN", givenCount: 0n },
  ]);
  expect(accesses[0]!.begunBy).toBe(accesses[1]!.accessId);
});

test.each([
  ["a leaf that is missing in the middle", "DELETE FROM events WHERE tenant_id = $1 AND leaf_index = 3"],
  ["the last leaf missing", "DELETE FROM events WHERE tenant_id = $1 AND leaf_index = 5"],
  ["every leaf missing", "DELETE FROM events WHERE tenant_id = $1"],
])("with %s in the database a whole export fails, and has no file that looks whole", async (_, damage) => {
  const tenant = newTenant();
  await append(tenant, 6);
  await seal(tenant, 6);
  await using superuser = await openSuperuser(audit.database.superuserUrl);
  await superuser.query(damage, [tenant]);
  const auditor = await audit.auditor(tenant);
  const got: ExportEventsResponse[] = [];
  const read = async () => {
    for await (const piece of auditor.exportEvents({}, { timeoutMs })) got.push(piece);
  };
  expect(await refusalOf(read())).toBe("Internal (no reason)");
  expect(Buffer.concat(got.map(({ data }) => data)).toString()).not.toContain("checkpoint");
});

test("bytes that somebody changed in the database are never exported", async () => {
  const tenant = newTenant();
  const [event] = await append(tenant, 1);
  await seal(tenant, 1);
  await using superuser = await openSuperuser(audit.database.superuserUrl);
  await superuser.query("ALTER TABLE events DROP CONSTRAINT IF EXISTS events_digest_holds");
  const { bytes } = withUnknownField(event!); // Still an event, and it says the same.
  await superuser.query("UPDATE events SET bytes = $2 WHERE tenant_id = $1", [tenant, bytes]);
  const auditor = await audit.auditor(tenant);
  for (const format of [ExportFormat.NDJSON, ExportFormat.CSV, ExportFormat.CLOUDEVENTS]) {
    expect(await refusalOf(exportOf(auditor, { format }))).toBe("Internal (no reason)");
  }
});

test.each<[what: string, spoil: string]>([
  ["was changed in the database", "UPDATE events SET digest = sha256(digest)"],
  ["is gone from the database", "DELETE FROM events"],
])("an export gives every leaf before one that %s, and then ends with an error", async (_, spoil) => {
  const tenant = newTenant();
  const events = await append(tenant, 7);
  await seal(tenant, 7);
  await using superuser = await openSuperuser(audit.database.superuserUrl);
  await superuser.query("ALTER TABLE events DROP CONSTRAINT IF EXISTS events_digest_holds");
  await superuser.query(`${spoil} WHERE tenant_id = $1 AND leaf_index = 5`, [tenant]);
  const got: Uint8Array[] = [];
  const read = async () => {
    for await (const { data } of (await audit.auditor(tenant)).exportEvents({}, { timeoutMs }))
      got.push(data);
  };
  expect(await refusalOf(read())).toBe("Internal (no reason)");
  expect(Buffer.concat(got).toString()).toBe(`${events.slice(0, 5).map(toLine).join("\n")}\n`);
});

/** A log that is far larger than what fits between a service and a client who does not read. */
const large = { tenant: newTenant(), count: 120 };
let filled: Promise<unknown> | undefined;

async function fillLarge(): Promise<void> {
  await append(large.tenant, large.count, () => ({ toState: randomBytes(40_000).toString("base64") }));
  await seal(large.tenant, large.count);
}

/** An export of the large log of which one message was read, by a service with one connection in its pool. */
async function startUnread(issuer = audit.issuer) {
  await (filled ??= fillLarge());
  await using opened = new AsyncDisposableStack();
  let nowMs = Date.now();
  const { database } = audit;
  const now = () => new Date(nowMs);
  const own = opened.use(await startAuditService({ issuer, database, config: { poolMax: 1 }, now }));
  const auditor = await own.auditor(large.tenant);
  const leaving = new AbortController();
  opened.defer(() => leaving.abort());
  const open = async () => {
    const options = { timeoutMs, signal: leaving.signal };
    const messages = auditor.exportEvents({}, options)[Symbol.asyncIterator]();
    await messages.next();
    return messages;
  };
  const reading = await open();
  const running = opened.move();
  return {
    auditor,
    /** How the rest of it ends. */
    rest: () => refusalOf(Array.fromAsync({ [Symbol.asyncIterator]: () => reading })),
    open,
    leave: () => leaving.abort(),
    later: (ms: number) => void (nowMs += ms),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

test("to a caller who does not read no more than a few pages go out, and meanwhile no connection is held", async () => {
  await using unread = await startUnread();
  const { auditor } = unread;
  for (let calls = 0; calls < 10; calls++) await auditor.listEvents({ pageSize: 1 });
  unread.leave();
  const ends = async () =>
    (await auditor.listAccesses({ filter: { method: AccessMethod.EXPORT_EVENTS } })).accesses;
  await waitUntil(async () => (await ends()).length === 2);
  const [end] = await ends();
  expect(end).toMatchObject({ outcome: "CANCELED" });
  expect(Number(end!.givenCount)).toBeLessThan(large.count / 2);
});

test("when the token of its caller expires an export ends, and is no whole file", async () => {
  await using unread = await startUnread();
  unread.later(3_600_000);
  expect(await unread.rest()).toBe("Unauthenticated UNAUTHENTICATED");
});

test("when the key of its caller's token is withdrawn an export ends, and is no whole file", async () => {
  await using issuer = await createIssuer();
  await using other = await createIssuer();
  await using unread = await startUnread(issuer);
  await copyFile(other.jwks, issuer.jwks);
  const refused = "Unauthenticated UNAUTHENTICATED";
  await waitUntil(async () => (await refusalOf(unread.auditor.getCheckpoint({}))) === refused);
  expect(await unread.rest()).toBe(refused);
});

test("exports are bounded a tenant; the next may come when one has gone", async () => {
  await using unread = await startUnread();
  const { auditor, open } = unread;
  for (let others = 0; others < 3; others++) await open();
  const limited = "ResourceExhausted RATE_LIMITED";
  const first = async () => {
    const leaving = new AbortController();
    const messages = auditor.exportEvents({}, { timeoutMs, signal: leaving.signal })[Symbol.asyncIterator]();
    const outcome = await refusalOf(messages.next());
    leaving.abort();
    return outcome;
  };
  expect(await first()).toBe(limited);
  unread.leave();
  await waitUntil(async () => (await first()) === "accepted");
});
