import { fromJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { makeEvent, type EventChanges } from "#test/support/events.ts";
import { cloudEvents } from "./cloud-events.ts";

function objectOf(changes: EventChanges): Record<string, unknown> {
  const { bytes, digest } = makeEvent(changes);
  const times = { receivedAtMicros: 0n, sealedAtMicros: undefined };
  const line = cloudEvents.toLine({ leafIndex: 2n ** 40n, bytes, digest, ...times });
  expect(line).toMatch(/^[^\n]+\n$/);
  return JSON.parse(line);
}

test("an event's attributes are those of CloudEvents 1.0, and its data is the event", () => {
  const changes = { eventId: "0199e6a2-7a7e-7a31-b7a0-0d4c1f6a9b52", subject: "c-1", subjectSequence: 12n };
  const { data, ...attributes } = objectOf({ ...changes, reason: "two\nlines" });
  expect(attributes).toEqual({
    ...{ specversion: "1.0", id: changes.eventId, source: "test/source", type: "test.thing.changed" },
    ...{ subject: "c-1", time: "2023-11-14T22:13:20.123456789Z", datacontenttype: "application/json" },
    ...{ leafindex: "1099511627776", sequence: "00000000000000000012", tenantid: "acme" },
    ...{ digest: expect.stringMatching(/^[0-9a-f]{64}$/), receivedtime: "1970-01-01T00:00:00Z" },
  });
  expect(fromJson(EventSchema, data as never)).toMatchObject({ ...changes, reason: "two\nlines" });
});

test("every attribute has a name and a type that the specification allows", () => {
  const { data: _, ...attributes } = objectOf({});
  for (const [name, value] of Object.entries(attributes)) {
    expect(name).toMatch(/^[a-z0-9]{1,20}$/);
    expect(value, name).toEqual(expect.stringMatching(/./));
  }
});

test("an attribute holds no control character, and a source nothing that no URI may hold", () => {
  const { source, type, subject, data } = objectOf({
    ...{ source: 'my source/"ü"%zz%20', type: "a\tb", subject: "x\u0085\uFFFFy" },
  });
  expect(source).toBe("my%20source/%22%C3%BC%22%25zz%20");
  expect([type, subject]).toEqual(["a\uFFFDb", "x\uFFFD\uFFFDy"]);
  expect(data).toMatchObject({ source: 'my source/"ü"%zz%20', type: "a\tb", subject: "x\u0085\uFFFFy" });
});
