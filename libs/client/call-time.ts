import { createContextKey, createContextValues, type ContextValues } from "@connectrpc/connect";
import type { TimeBudget } from "#libs/resilience/time-budget.ts";

const callTimeKey = createContextKey<TimeBudget | undefined>(undefined, { description: "time of this call" });

/** The time of a call, which `withCallTime` gave it. */
export function callTimeOf(values: ContextValues): TimeBudget {
  const time = values.get(callTimeKey);
  if (time === undefined) throw new Error("this call was made around openTransport");
  return time;
}

/** The caller's values, to which this call adds its own: a caller may use one set of values for many calls. */
export function withCallTime(given: ContextValues | undefined, time: TimeBudget): ContextValues {
  const values = given ?? createContextValues();
  const own = createContextValues().set(callTimeKey, time);
  const of = (id: symbol) => (id === callTimeKey.id ? own : values);
  return {
    get: (key) => of(key.id).get(key),
    set(key, value) {
      of(key.id).set(key, value);
      return this;
    },
    delete(key) {
      of(key.id).delete(key);
      return this;
    },
  };
}
