import { expect, test } from "vitest";
import { createManualClock } from "#test/support/manual-clock.ts";
import { createMemoryBuckets } from "./memory-buckets.ts";

const rules = { principal: { perSecond: 1, burst: 2 }, tenant: { perSecond: 1, burst: 2 } };
const caller = (index: number) => ({ tenantId: `t-${index}`, principalId: "p" });

test("buckets that are full again go away as calls are counted", async () => {
  const clock = createManualClock();
  const { take, size } = createMemoryBuckets(clock, rules);
  for (let index = 0; index < 500; index++) await take(caller(index));
  expect(size()).toBe(1_000);
  await clock.advance(2_000);
  for (let index = 0; index < 500; index++) {
    await take(caller(0));
    await clock.advance(1_000);
  }
  expect(size()).toBe(2);
});

test("there are never more buckets than may be, and those used last are the ones that stay", async () => {
  const clock = createManualClock();
  const { take, size } = createMemoryBuckets(clock, rules, 100);
  for (let index = 0; index < 1_000; index++) await take(caller(index));
  expect(size()).toBe(100);
  await take(caller(999));
  expect(await take(caller(999))).toBeGreaterThan(0);
});

test("a principal without a tenant has one bucket, with the rule of a tenant, which nobody else's calls empty", async () => {
  const clock = createManualClock();
  const wide = { principal: { perSecond: 1, burst: 1 }, tenant: { perSecond: 1, burst: 3 } };
  const { take } = createMemoryBuckets(clock, wide);
  const relay = { tenantId: undefined, principalId: "p" };
  for (let index = 0; index < 9; index++) await take(caller(index));
  expect([await take(relay), await take(relay), await take(relay)]).toEqual([0, 0, 0]);
  expect(await take(relay)).toBe(1_000);
});

test.each([1, 3, 6, 7, 300, 999])(
  "a burst is as many calls as it says, at %i calls a second",
  async (perSecond) => {
    const clock = createManualClock();
    await clock.advance(1_234.567_8);
    const rule = { perSecond, burst: 1_000 };
    const { take } = createMemoryBuckets(clock, { principal: rule, tenant: rule });
    let taken = 0;
    while ((await take(caller(1))) === 0) taken += 1;
    expect(taken).toBe(1_000);
  },
);
