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
  const { verdicts, failure } = await deliver(
    async (batch) => batch.map(() => outcome),
    events(1),
    () => true,
  );
  expect(verdicts).toMatchObject([{ kind, ...(outcome.kind === "rejected" && { reason: outcome.reason }) }]);
  expect(failure).toBeUndefined();
});

const goOn = (): boolean => true;

test.each([
  ["failed", "suspect"],
  ["refused", "dead"],
] as const)(
  "an event on which a batch breaks (%s) is found by halving and is %s, and the others get through",
  async (how, kind) => {
    const record = breakingOn(how, ["event-137"]);
    const { verdicts, failure } = await deliver(record, events(500), goOn);
    expect(failure).toBeUndefined();
    expect(verdicts.filter((verdict) => verdict.kind === "delivered")).toHaveLength(499);
    expect(verdicts.filter((verdict) => verdict.kind === kind).map(({ event }) => event.eventId)).toEqual([
      "event-137",
    ]);
    expect(record.sizes.length).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(500)) + 1);
  },
);

test("a service that breaks on everything is down: it is asked a few times, and nothing is given up", async () => {
  const all = events(500);
  const record = breakingOn(
    "failed",
    all.map(({ eventId }) => eventId),
  );
  const { verdicts, failure } = await deliver(record, all, goOn);
  expect(verdicts.map(({ kind }) => kind)).toEqual(["suspect", "suspect", "suspect"]);
  expect(failure).toBeInstanceOf(DeliveryError);
  expect(record.sizes.length).toBeLessThan(20);
});

test("a service that cannot be reached is asked once, and nothing is given up", async () => {
  const record = breakingOn("unreachable", ["event-0"]);
  const { verdicts, failure } = await deliver(record, events(4), goOn);
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
  const { verdicts, failure } = await deliver(record, events(4), goOn);
  expect(verdicts.map(({ event, kind }) => [event.eventId, kind])).toEqual([
    ["event-0", "delivered"],
    ["event-1", "delivered"],
  ]);
  expect(failure).toMatchObject({ kind: "unreachable" });
});

test("nothing more is sent once it may not go on", async () => {
  const record = breakingOn("failed", ["event-0"]);
  await deliver(record, events(8), () => record.sizes.length < 2);
  expect(record.sizes).toEqual([8, 4]);
});

test("behind a rejected event the rest of its case waits, and other cases do not", async () => {
  const [first, second, other] = events(3);
  const batch = [first!, { ...second!, caseId: first!.caseId, version: 2 }, other!];
  const rejected: Outcome = { kind: "rejected", reason: "CHAIN_BROKEN" };
  const { verdicts } = await deliver(async () => [rejected, rejected, rejected], batch, goOn);
  expect(verdicts.map(({ kind }) => kind)).toEqual(["dead", "waits", "dead"]);
});

test("an error that is none of delivery's flies on", async () => {
  const broken: RecordEvents = async () => {
    throw new TypeError("a bug");
  };
  await expect(deliver(broken, events(1), goOn)).rejects.toThrow(TypeError);
});
