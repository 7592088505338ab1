import { randomBytes } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { DeliveryOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { isText, nameOf, walkPaths, withValues, type FieldPath } from "../support/attack-http-fields.ts";
import { startAuditService, type AuditServiceFixture } from "../support/audit-service.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { refusalOf } from "../support/reason-of.ts";
import { rowDigests } from "../support/row-digests.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let audit: AuditServiceFixture;
let source: AuditClient;
let auditor: AuditClient;

beforeAll(async () => {
  audit = stack.use(await startAuditService());
  source = await audit.source();
  auditor = await audit.auditor();
});
afterAll(() => stack.disposeAsync());

const { APPLIED, REJECTED } = DeliveryOutcome;

/** Sends the event between two good ones; tells what became of it. */
async function deliver(
  bytes: Uint8Array,
): Promise<{ readonly outcome: DeliveryOutcome; readonly reason: string }> {
  const good = [makeEvent(), makeEvent()] as const;
  const { outcomes } = await source.recordEvents({ events: [good[0].bytes, bytes, good[1].bytes] });
  expect([outcomes[0]?.outcome, outcomes[2]?.outcome]).toEqual([APPLIED, APPLIED]);
  const { outcome, reason } = outcomes[1]!;
  return { outcome, reason };
}

const valid = () => fromBinary(EventSchema, makeEvent().bytes);
const refused = { outcome: REJECTED, reason: "INVALID_EVENT" };
const lengthDelimited = (field: number, length: number) => Buffer.of((field << 3) | 2, length);

const noEvents: Readonly<Record<string, () => Uint8Array>> = {
  "one byte": () => Buffer.of(0),
  "random bytes": () => Buffer.concat([Buffer.of(0x07), randomBytes(1_000)]),
  "60 KiB of 0xff": () => Buffer.alloc(61_440, 0xff),
  "half an event": () => makeEvent().bytes.subarray(0, -20),
  "an event with rubbish behind it": () => Buffer.concat([makeEvent().bytes, Buffer.of(0xff)]),
  text: () => Buffer.from(JSON.stringify({ eventId: "1" })),
  "a text longer than the event": () => Buffer.concat([lengthDelimited(1, 127), Buffer.from("short")]),
  "actors in actors": () => Buffer.alloc(60_000, lengthDelimited(9, 127)),
  "groups in groups": () => Buffer.alloc(60_000, Buffer.of(0xfb, 0x3e)),
  "an event of another schema": () => Buffer.concat([lengthDelimited(10, 2), Buffer.from("ab")]),
};

test.each(Object.entries(noEvents))("%s in a batch is rejected alone, and for ever", async (_, make) => {
  expect(await deliver(make())).toEqual(refused);
});

test("an event or a batch beyond the limits is refused as a whole, and nothing is stored", async () => {
  const before = await rowDigests(audit.database.superuserUrl);
  const { bytes } = makeEvent();
  const batches = [
    [bytes, Buffer.alloc(61_441)],
    [bytes, Buffer.alloc(0)],
    [],
    Array.from({ length: 501 }, () => bytes),
  ];
  for (const events of batches) {
    expect(await refusalOf(source.recordEvents({ events }))).toBe("InvalidArgument INVALID_REQUEST");
  }
  const large = Array.from({ length: 100 }, () => Buffer.alloc(60_000));
  expect(await refusalOf(source.recordEvents({ events: large }))).toBe("ResourceExhausted TOO_LARGE");
  expect(await rowDigests(audit.database.superuserUrl)).toEqual(before);
});

/** Texts that a column, an index or an encoder could stumble over. */
const texts: Readonly<Record<string, string>> = {
  "a NUL": "a\0b",
  "control characters": "\u0001\u001b[2J\r\n\u007f",
  "text in both directions": "\u202eabc\u200f",
  "20,000 characters": "x".repeat(20_000),
  "20,000 characters of four bytes each": "\u{1f701}".repeat(10_000),
};

const paths = walkPaths(EventSchema).filter(isText);

test.each(Object.entries(texts))(
  "%s in any text of an event is rejected, or stored and told as it came",
  async (_, text) => {
    for (const path of paths) {
      const bytes = withValues(valid(), EventSchema, [path, text]);
      await expectSettled(path, bytes, deliver(bytes));
    }
  },
);

async function expectSettled(
  path: FieldPath,
  bytes: Uint8Array,
  delivery: ReturnType<typeof deliver>,
): Promise<void> {
  const { outcome, reason } = await delivery;
  if (outcome !== APPLIED) {
    expect([outcome, reason], nameOf(path)).toEqual([
      REJECTED,
      expect.stringMatching(/^(INVALID_EVENT|SOURCE_NOT_ALLOWED)$/),
    ]);
    return;
  }
  const { eventId } = fromBinary(EventSchema, bytes);
  const { event } = await auditor.getEvent({ eventId });
  expect(Buffer.from(event!.eventBytes).equals(bytes), nameOf(path)).toBe(true);
}

test("bytes that are no UTF-8 in any text of an event are rejected", async () => {
  const mark = "@@@@";
  for (const path of paths) {
    const bytes = withValues(valid(), EventSchema, [path, mark]);
    bytes.writeUInt32BE(0xffc0eda0, bytes.indexOf(mark));
    expect(await deliver(bytes), nameOf(path)).toEqual(refused);
  }
});

const farNumbers: readonly (string | bigint | number)[] = [2n ** 63n - 1n, -(2n ** 63n), 253_402_300_800n];

test("a time that is none in an event is rejected", async () => {
  const times = walkPaths(EventSchema).filter((path) => path.at(-1)?.name === "seconds");
  expect(times.length).toBeGreaterThan(1);
  for (const path of times) {
    for (const seconds of farNumbers) {
      expect(await deliver(withValues(valid(), EventSchema, [path, seconds])), nameOf(path)).toEqual(refused);
    }
  }
});

test("a sequence beyond what a log can hold is out of order or rejected, and no failure", async () => {
  for (const subjectSequence of [0n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]) {
    const { outcome } = await deliver(makeEvent({ subjectSequence }).bytes);
    expect([REJECTED, DeliveryOutcome.OUT_OF_ORDER]).toContain(outcome);
  }
});

test("the events of a tenant stay readable after all of that", async () => {
  let count = 0;
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await auditor.listEvents({ pageSize: 500, pageToken });
    count += page.events.length;
    pageToken = page.nextPageToken;
  }
  expect(count).toBeGreaterThan(2 * paths.length);
});
