import type { Content, Person } from "../domain/case.ts";

/**
 * The content's bytes, which its commitment is taken of: UTF-8 JSON without spaces, keys in the order written here.
 * Plain text, so that a court can read years later what was committed to. Never change what existing content gives.
 */
export function encodeContent({ title, summary, people }: Content): Buffer {
  const ordered = people.map(({ name, role, contact }) => ({ name, role, contact }));
  return Buffer.from(JSON.stringify({ title, summary, people: ordered }), "utf8");
}

/** Reads what `encodeContent` wrote. Throws on anything else: a damaged row is not to be passed on. */
export function decodeContent(bytes: Buffer): Content {
  const value: unknown = JSON.parse(bytes.toString("utf8"));
  if (!isContent(value)) throw new Error("stored content is damaged: not of the form that was written");
  return value;
}

function isContent(value: unknown): value is Content {
  return (
    isRecord(value) &&
    typeof value["title"] === "string" &&
    typeof value["summary"] === "string" &&
    Array.isArray(value["people"]) &&
    value["people"].every(isPerson)
  );
}

function isPerson(value: unknown): value is Person {
  return isRecord(value) && ["name", "role", "contact"].every((key) => typeof value[key] === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
