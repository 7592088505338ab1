import fc from "fast-check";
import { canaries } from "./canaries.ts";
import { cast, moves, type Action, type CaseType, type Content, type Name } from "./case-model.ts";

/** One request as it is drawn: indexes are taken modulo what there is when its turn comes. */
export interface Call {
  /**
   * `onward`: what takes the case further, by somebody who may. `meddle`: the same by somebody who has had to do with the
   * case. `apt`: something that the state allows, by somebody with the role. `any`: as drawn.
   */
  readonly aim: "onward" | "meddle" | "apt" | "any";
  readonly who: Name;
  readonly action: Action;
  readonly tenant: 0 | 1;
  /** Which of the tenant's cases; `foreign`: of all cases; `unknown`: none that exists. */
  readonly target: { readonly of: "own" | "foreign" | "unknown"; readonly index: number };
  readonly version: "none" | "right" | "behind" | "ahead";
  readonly content: Content;
  readonly fields: readonly (keyof Content)[];
  readonly caseType: CaseType;
  readonly reviewer: Name;
  readonly reason: string;
  /**
   * `new`: an id of its own. `again`: an earlier request once more, as it was. `reuse`: this request under the id of an
   * earlier one, which is another request, or a misuse when the person is the same.
   */
  readonly id: { readonly kind: "new" | "again" | "reuse"; readonly index: number };
  /** How often it is sent at once. */
  readonly copies: number;
  /** Which of the two replicas gets it. */
  readonly replica: 0 | 1;
}

export const faultKinds = [
  "none",
  "slow-load",
  "slow-write",
  "cut-load",
  "cut-write",
  "cut-commit",
  "cut-answer",
  "cut-idle",
  "down",
  "cut-relay",
] as const;

/** What goes wrong between the services and their database meanwhile. */
export interface Fault {
  readonly kind: (typeof faultKinds)[number];
  readonly delayMs: number;
}

/** Calls that are sent at once, and the fault they meet. */
export interface Command {
  readonly calls: readonly Call[];
  readonly fault: Fault;
}

/** What a short counterexample does not depend on is left as it was drawn: shortening takes a run a try. */
const drawn = <T>(...weighted: readonly [number, T][]): fc.Arbitrary<T> =>
  fc.oneof(...weighted.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));
/** The first is the simplest, to which a counterexample is reduced. */
const reducible = <T>(...weighted: readonly [number, T][]): fc.Arbitrary<T> => {
  const values = weighted.flatMap(([weight, value]) => Array.from({ length: weight }, () => value));
  return fc.nat({ max: values.length - 1 }).map((index) => values[index]!); // Below its length.
};
const evenly = <T>(values: readonly T[]): fc.Arbitrary<T> =>
  drawn(...values.map((value): [number, T] => [1, value]));

const index = fc.nat({ max: 5 });
const text = drawn<string>([12, canaries.drawn], [1, ""], [1, "  "]);

const call: fc.Arbitrary<Call> = fc.record({
  aim: drawn<Call["aim"]>([8, "onward"], [3, "meddle"], [1, "apt"], [2, "any"]),
  who: evenly(Object.keys(cast) as Name[]), // Its own keys.
  action: evenly(Object.keys(moves) as Action[]), // Its own keys.
  tenant: drawn<0 | 1>([5, 0], [1, 1]),
  target: fc.record({
    of: reducible<Call["target"]["of"]>([12, "own"], [1, "foreign"], [1, "unknown"]),
    index,
  }),
  version: reducible<Call["version"]>([6, "none"], [6, "right"], [1, "behind"], [1, "ahead"]),
  content: fc.record({
    title: text,
    summary: text,
    people: drawn<readonly string[]>([12, ["Ada"]], [1, []]),
  }),
  fields: fc.noShrink(fc.subarray(["title", "summary", "people"] as const, { minLength: 1 })),
  caseType: evenly<CaseType>(["permit", "two_person_permit"]),
  reviewer: evenly<Name>(["rita", "rob", "eve", "ann"]),
  reason: text,
  id: fc.record({
    kind: reducible<Call["id"]["kind"]>([6, "new"], [2, "again"], [1, "reuse"]),
    index,
  }),
  copies: reducible<number>([6, 1], [1, 2], [1, 5]),
  replica: drawn<0 | 1>([1, 0], [1, 1]),
});

const command: fc.Arbitrary<Command> = fc.record({
  calls: fc.array(call, { minLength: 1, maxLength: 3, size: "max" }),
  fault: fc.record({
    kind: reducible<Fault["kind"]>(
      [8, "none"],
      ...faultKinds.slice(1).map((kind): [number, Fault["kind"]] => [1, kind]),
    ),
    delayMs: fc.noShrink(fc.nat({ max: 20 })),
  }),
});

/**
 * Up to `max` commands. Drawn the last one first, because a failing array is shortened from its start: what came after the
 * failure is dropped before anything else.
 */
export const commandSequences = (max: number): fc.Arbitrary<readonly Command[]> =>
  fc.array(command, { minLength: 1, maxLength: max, size: "max" }).map((backwards) => backwards.toReversed());
