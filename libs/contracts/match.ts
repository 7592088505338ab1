import type { Expected, ExpectedMessage, Json, Matcher } from "./contract.ts";

/** One place where something else is than was expected. */
export interface Mismatch {
  /** From the message on, as `case.people[2].name`. */
  readonly path: string;
  readonly problem: string;
}

export interface MatchOptions {
  /** What `given` stands for. */
  readonly given: (matcher: Extract<Matcher, { $match: "given" }>) => Json | undefined;
  /** `strict`: nothing may be there that is not named. `tolerant`: what is not named is nobody's business. */
  readonly mode: "strict" | "tolerant";
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Compares a message in proto3 JSON, where a field that is absent or zero is left out, with what is expected of it. */
export function findMismatches(
  expected: ExpectedMessage,
  actual: Json | undefined,
  options: MatchOptions,
  path = "",
): readonly Mismatch[] {
  if (!isJsonObject(actual)) return [{ path, problem: `expected a message, got ${show(actual)}` }];
  const named = Object.entries(expected).flatMap(([name, value]) =>
    compare(value, actual[name], options, path === "" ? name : `${path}.${name}`),
  );
  if (options.mode === "tolerant") return named;
  const others = Object.keys(actual).filter((name) => !(name in expected));
  return [
    ...named,
    ...others.map((name) => ({
      path: path === "" ? name : `${path}.${name}`,
      problem: `is not expected: ${show(actual[name])}`,
    })),
  ];
}

/** Compares one value; `undefined` where there is none. */
export function compare(
  expected: Expected,
  actual: Json | undefined,
  options: MatchOptions,
  path: string,
): readonly Mismatch[] {
  if (isMatcher(expected)) return compareMatcher(expected, actual, options, path);
  if (Array.isArray(expected)) return compareList(expected, actual, options, path);
  if (typeof expected === "object") {
    // Neither a matcher nor a list.
    return findMismatches(expected as ExpectedMessage, actual, options, path);
  }
  return actual === expected ? [] : [{ path, problem: `expected ${show(expected)}, got ${show(actual)}` }];
}

function compareMatcher(
  matcher: Matcher,
  actual: Json | undefined,
  options: MatchOptions,
  path: string,
): readonly Mismatch[] {
  const fits = (holds: boolean, what: string): readonly Mismatch[] =>
    holds ? [] : [{ path, problem: `expected ${what}, got ${show(actual)}` }];
  switch (matcher.$match) {
    case "given": {
      const value = options.given(matcher);
      if (value === undefined) return [{ path, problem: `the provider state gave no ${matcher.name}` }];
      return fits(equalJson(value, actual), `the state's ${matcher.name}, ${show(value)}`);
    }
    case "uuid":
      return fits(typeof actual === "string" && uuid.test(actual), "a UUID");
    case "pattern":
      return fits(
        typeof actual === "string" && new RegExp(matcher.pattern, "u").test(actual),
        `a text that fits ${matcher.pattern}`,
      );
    case "oneOf":
      return fits(
        matcher.values.some((value) => value === actual),
        `one of ${matcher.values.join(", ")}`,
      );
    case "atLeast":
      return fits(
        (typeof actual === "number" || typeof actual === "string") && Number(actual) >= matcher.least,
        `at least ${matcher.least}`,
      );
    case "bytes":
      return fits(
        typeof actual === "string" && Buffer.from(actual, "base64").length === matcher.length,
        `${matcher.length} bytes`,
      );
    case "present":
      return fits(actual !== undefined, "any value");
    case "any":
      return [];
    case "absent":
      return fits(actual === undefined, "nothing");
    case "each": {
      const list: readonly Json[] = Array.isArray(actual) ? actual : [];
      return [
        ...fits(list.length >= matcher.atLeast, `a list of at least ${matcher.atLeast}`),
        ...list.flatMap((item, index) => compare(matcher.of, item, options, `${path}[${index}]`)),
      ];
    }
    default:
      return matcher satisfies never;
  }
}

function compareList(
  expected: readonly Expected[],
  actual: Json | undefined,
  options: MatchOptions,
  path: string,
): readonly Mismatch[] {
  if (!Array.isArray(actual) || actual.length !== expected.length) {
    return [{ path, problem: `expected a list of ${expected.length}, got ${show(actual)}` }];
  }
  return expected.flatMap((item, index) => compare(item, actual[index], options, `${path}[${index}]`));
}

export function isMatcher(expected: Expected): expected is Matcher {
  return typeof expected === "object" && "$match" in expected;
}

export function isJsonObject(value: Json | undefined): value is { readonly [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The order of names does not count. */
export function equalJson(a: Json | undefined, b: Json | undefined): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => equalJson(item, b[index]));
  }
  if (isJsonObject(a) && isJsonObject(b)) {
    const names = Object.keys(a);
    return (
      names.length === Object.keys(b).length &&
      names.every((name) => Object.hasOwn(b, name) && equalJson(a[name], b[name]))
    );
  }
  return a === b;
}

export function show(value: Json | undefined): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}
