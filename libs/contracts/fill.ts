import { randomUUID } from "node:crypto";

import type { Example, Expected, ExpectedMessage, Json, Metadata } from "./contract.ts";
import { isMatcher } from "./match.ts";

export type Given = { readonly [name: string]: Json };

/** The message that a stand-in answers with: each matcher's example, and nothing for what is to be absent. */
export function fillWithExamples(expected: ExpectedMessage): { [field: string]: Json } {
  return fillMessage(expected, undefined);
}

/**
 * The message that is sent when a request is replayed: the state's own values for `given`, fresh UUIDs, else examples. Throws
 * when the state gave no such value.
 */
export function fillForReplay(expected: ExpectedMessage, given: Given): { [field: string]: Json } {
  return fillMessage(expected, given);
}

export function fillMetadata(metadata: Metadata, given?: Given): [string, string][] {
  return Object.entries(metadata).flatMap(([name, value]): [string, string][] => {
    const filled = fillValue(value, given);
    return filled === undefined ? [] : [[name, typeof filled === "string" ? filled : JSON.stringify(filled)]];
  });
}

function fillMessage(expected: ExpectedMessage, given: Given | undefined): { [field: string]: Json } {
  const filled = Object.entries(expected).map(([name, value]) => [name, fillValue(value, given)] as const);
  return Object.fromEntries(filled.filter((entry): entry is [string, Json] => entry[1] !== undefined));
}

function fillValue(expected: Expected, given: Given | undefined): Json | undefined {
  if (!isMatcher(expected)) {
    if (Array.isArray(expected)) return expected.map((item: Expected) => fillValue(item, given) ?? null);
    // Neither a matcher nor a list.
    return typeof expected === "object" ? fillMessage(expected as ExpectedMessage, given) : expected;
  }
  switch (expected.$match) {
    case "absent":
      return undefined;
    case "each":
      return Array.from({ length: expected.atLeast }, () => fillValue(expected.of, given) ?? null);
    case "given":
      if (given === undefined) return toJson(expected.example);
      if (given[expected.name] === undefined) throw new Error(`the provider state gave no ${expected.name}`);
      return given[expected.name];
    case "uuid":
      return given === undefined ? expected.example : randomUUID();
    default:
      return toJson(expected.example);
  }
}

function toJson(example: Example): Json {
  return example;
}
