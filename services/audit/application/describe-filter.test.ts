import { expect, test } from "vitest";
import { EventFilterSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { describeFilter } from "./describe-filter.ts";

test("the same conditions give the same text, in whatever order they come", () => {
  const one = describeFilter({ type: "t", actorId: 'a"b', occurredFromMicros: 1_000_001n });
  expect(one).toBe(`{"actorId":"a\\"b","occurredFrom":"1970-01-01T00:00:01.000001Z","type":"t"}`);
  expect(describeFilter({ occurredFromMicros: 1_000_001n, actorId: 'a"b', type: "t" })).toBe(one);
  expect(describeFilter({})).toBe("{}");
});

test("every condition that the schema knows is in the text, under the name that it has there", () => {
  const all = describeFilter({
    ...{ source: "1", type: "1", subject: "1", actorId: "1", onBehalfOf: "1", requestId: "1" },
    ...{ correlationId: "1", occurredFromMicros: 1n, occurredBeforeMicros: 1n, recordedFromMicros: 1n },
    ...{ recordedBeforeMicros: 1n, receivedFromMicros: 1n, receivedBeforeMicros: 1n },
  });
  const names = EventFilterSchema.fields.map(({ jsonName }) => jsonName);
  expect(Object.keys(JSON.parse(all))).toEqual(names.toSorted());
});
