/** Telling answers apart: about something that exists elsewhere, and about something that exists nowhere. */
import { randomInt, randomUUID } from "node:crypto";
import { v7 } from "uuid";
import type { Answer } from "./attack-answer.ts";

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;
const wholeUuid = new RegExp(`^${uuid.source}$`, "i");

/** Of the same form as `value`, and the name of nothing. */
export function nowhere(value: string | number): string | number {
  if (typeof value === "number") return value + 1_000_000;
  if (wholeUuid.test(value)) {
    const other = value.at(14) === "7" ? v7() : randomUUID();
    return value === value.toUpperCase() ? other.toUpperCase() : other;
  }
  return value
    .replace(/[a-z]/g, () => String.fromCharCode(97 + randomInt(26)))
    .replace(/[A-Z]/g, () => String.fromCharCode(65 + randomInt(26)))
    .replace(/\d/g, () => String(randomInt(10)));
}

/** What `nowhere` keeps of a value: two of the same form have the same twins. */
export function formOf(value: string | number): string {
  if (typeof value === "number") return "number";
  if (wholeUuid.test(value))
    return `UUID ${value.at(14)}${value === value.toUpperCase() ? " in capitals" : ""}`;
  return value.replace(/[a-z]/g, "a").replace(/[A-Z]/g, "A").replace(/\d/g, "0");
}

/**
 * Everything of an answer by which two of them could be told apart, but for what was sent, and for ids, times and
 * digests that are new in every answer. What a stream says to show that it still runs comes sooner or later, and tells nothing.
 */
export function shapeOf(answer: Answer, sent: string | number): unknown {
  const { outcome, error, messages } = answer;
  const { date: _, "content-length": bytes, ...others } = answer.headers;
  // Times are of different lengths; an error has none.
  const headers = error === undefined ? others : { bytes, ...others };
  const told = messages.filter((message) => Object.keys(message).join() !== "resumeToken");
  const text = JSON.stringify({ outcome, headers, error, messages: told });
  const shape = text
    .replaceAll(new RegExp(`(?<![\\w-])${RegExp.escape(String(sent))}(?![\\w-])`, "gi"), "<sent>")
    // Whichever of the two that look at a stream's time saw it first.
    .replaceAll(/the operation timed out|the time for this call is up/g, "<time is up>")
    // A token begins with a digest of its place and of all that was asked for.
    .replaceAll(/(?<="resumeToken":")[\w-]{16}/g, "<digest>")
    .replaceAll(/(— \S+ )[\w+/]+=*/g, "$1<signature>")
    .replaceAll(uuid, "<uuid>")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>")
    .replaceAll(/[\w+/]{43}=/g, "<digest>");
  return JSON.parse(shape);
}
