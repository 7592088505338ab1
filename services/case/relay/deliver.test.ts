import { expect, test } from "vitest";
import type { PendingEvent } from "../domain/pending-event.ts";
import { deliver, DeliveryError, type Outcome, type RecordEvents } from "./deliver.ts";

function events(count: number): PendingEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    tenantId: "acme",
    eventId: `event-${index}`,
    caseId: `case-${index}`,
    version: 1,
    traceparent: "",
    event: new Uint8Array([index]),
  }));
}

/** A service that breaks, in the given way, on every batch with one of the events in it. */
function breakingOn(kind: DeliveryError["kind"], ids: readonly string[]): RecordEvents & { sizes: number[] } {
  const sizes: number[] = [];
  const record: RecordEvents = async (batch) => {
    sizes.push(batch.length);
    if (batch.some(({ eventId }) => ids.includes(eventId))) throw new DeliveryError(kind, "broke", undefined);
    return batch.map((): Outcome => ({ kind: "applied" }));
  };
  return Object.assign(record, { sizes });
}

test.each<[Outcome, string]>([
  [{ kind: "applied" }, "delivered"],
  [{ kind: "duplicate" }, "delivered"],
  [{ kind: "out_of_order" }, "waits"],
  [{ kind: "rejected", reason: "SEQUENCE_REUSED" }, "dead"],
])("an event that is %o is %s", async (outcome, kind) => {
  const { verdicts, failure } = await deliver(async (batch) => batch.map(() => outcome), events(1));
  expect(verdicts).toMatchObject([{ kind, ...(outcome.kind === "rejected" && { reason: outcome.reason }) }]);
  expect(failure).toBeUndefined();
});

test.each(["failed", "refused"] as const)(
  "an event on which a batch breaks (%s) is found by halving, and the others get through",
  async (kind) => {
    const record = breakingOn(kind, ["event-137"]);
    const { verdicts, failure } = await deliver(record, events(500));
    expect(failure).toBeUndefined();
    expect(verdicts.filter((verdict) => verdict.kind === "delivered")).toHaveLength(499);
    expect(verdicts.filter((verdict) => verdict.kind === "dead").map(({ event }) => event.eventId)).toEqual([
      "event-137",
    ]);
    expect(record.sizes.length).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(500)) + 1);
  },
);

test("a service that breaks on everything is down: nothing is given up", async () => {
  const all = events(4);
  const record = breakingOn(
    "failed",
    all.map(({ eventId }) => eventId),
  );
  const { verdicts, failure } = await deliver(record, all);
  expect(verdicts).toEqual([]);
  expect(failure).toBeInstanceOf(DeliveryError);
});

test("a service that cannot be reached is asked once, and nothing is given up", async () => {
  const record = breakingOn("unreachable", ["event-0"]);
  const { verdicts, failure } = await deliver(record, events(4));
  expect(record.sizes).toEqual([4]);
  expect(verdicts).toEqual([]);
  expect(failure).toMatchObject({ kind: "unreachable" });
});

test("what got through before the connection was lost counts", async () => {
  let calls = 0;
  const record: RecordEvents = async (batch) => {
    calls += 1;
    if (calls === 1) throw new DeliveryError("failed", "broke", undefined);
    if (calls === 3) throw new DeliveryError("unreachable", "gone", undefined);
    return batch.map((): Outcome => ({ kind: "applied" }));
  };
  const { verdicts, failure } = await deliver(record, events(4));
  expect(verdicts.map(({ event, kind }) => [event.eventId, kind])).toEqual([
    ["event-0", "delivered"],
    ["event-1", "delivered"],
  ]);
  expect(failure).toMatchObject({ kind: "unreachable" });
});

test("behind a rejected event the rest of its case waits, and other cases do not", async () => {
  const [first, second, other] = events(3);
  const batch = [first!, { ...second!, caseId: first!.caseId, version: 2 }, other!];
  const rejected: Outcome = { kind: "rejected", reason: "CHAIN_BROKEN" };
  const { verdicts } = await deliver(async () => [rejected, rejected, rejected], batch);
  expect(verdicts.map(({ kind }) => kind)).toEqual(["dead", "waits", "dead"]);
});

test("an error that is none of delivery's flies on", async () => {
  const broken: RecordEvents = async () => {
    throw new TypeError("a bug");
  };
  await expect(deliver(broken, events(1))).rejects.toThrow(TypeError);
});
