import { expect, test } from "vitest";
import { BulkheadFullError, createBulkhead } from "./bulkhead.ts";

const patient = new AbortController().signal;

test("no more are under way than allowed, the others come in turn, and one too many is refused at once", async () => {
  const bulkhead = createBulkhead({ inFlightMax: 2, queueMax: 2 });
  const order: number[] = [];
  const enter = async (index: number) => {
    const leave = await bulkhead.enter(patient);
    order.push(index);
    return leave;
  };
  const [first, second] = await Promise.all([enter(1), enter(2)]);
  const [third, fourth] = [enter(3), enter(4)];
  await expect(enter(5)).rejects.toBeInstanceOf(BulkheadFullError);
  expect(order).toEqual([1, 2]);
  first();
  const leaveThird = await third;
  expect(order).toEqual([1, 2, 3]);
  second();
  await fourth;
  expect(order).toEqual([1, 2, 3, 4]);
  leaveThird();
  await enter(6);
});

test("a place given back twice is one place", async () => {
  const bulkhead = createBulkhead({ inFlightMax: 1, queueMax: 0 });
  const leave = await bulkhead.enter(patient);
  leave();
  leave();
  await bulkhead.enter(patient);
  await expect(bulkhead.enter(patient)).rejects.toBeInstanceOf(BulkheadFullError);
});

test("who gives up waiting is let go at once and leaves the queue to others", async () => {
  const bulkhead = createBulkhead({ inFlightMax: 1, queueMax: 1 });
  const leave = await bulkhead.enter(patient);
  const caller = new AbortController();
  const waiting = bulkhead.enter(caller.signal);
  caller.abort(new Error("gone"));
  await expect(waiting).rejects.toThrow("gone");
  const next = bulkhead.enter(patient);
  leave();
  await expect(next).resolves.toBeTypeOf("function");
  await expect(bulkhead.enter(caller.signal)).rejects.toThrow("gone");
});
