import type { Message } from "@bufbuild/protobuf";
import { createContextKey, type ContextValues, type Interceptor } from "@connectrpc/connect";
import { trace } from "@opentelemetry/api";

import { correlationIdKey, requestIdKey } from "./request-context.ts";

/**
 * What a call was about, besides what every call has: its log line tells it under these names, and so does its span in snake case,
 * `caseflow.case_id`, but for lists. Ids and flags, never what somebody wrote.
 */
export type CallNotes = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

const notesKey = createContextKey<CallNotes>({}, { description: "notes" });

/** Adds to the call's notes; what is `undefined` changes nothing. */
export function noteCall(values: ContextValues, notes: CallNotes): void {
  const given = Object.entries(notes).filter(([, value]) => value !== undefined);
  if (given.length === 0) return;
  values.set(notesKey, { ...values.get(notesKey), ...Object.fromEntries(given) });
  tellSpan(given);
}

export function notesOf(values: ContextValues): CallNotes {
  return values.get(notesKey);
}

/**
 * Notes of each call what `read` finds in its request, before that is validated, and in its answer unless that is a stream; and
 * tells the call's ids to its span. To be next to the handlers.
 */
export function noteMessages(read: (message: Message) => CallNotes): Interceptor {
  return (next) => async (request) => {
    const { contextValues: values } = request;
    tellSpan([
      ["requestId", values.get(requestIdKey)],
      ["correlationId", values.get(correlationIdKey)],
    ]);
    if (request.stream) {
      return next({
        ...request,
        message: noted(request.message, (message) => noteCall(values, read(message))),
      });
    }
    noteCall(values, read(request.message));
    const response = await next(request);
    if (!response.stream) noteCall(values, read(response.message));
    return response;
  };
}

function tellSpan(notes: readonly [string, CallNotes[string]][]): void {
  const span = trace.getActiveSpan();
  if (!span?.isRecording()) return;
  for (const [name, value] of notes) {
    const snakeCase = name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (typeof value === "string" || typeof value === "boolean") {
      span.setAttribute(`caseflow.${snakeCase}`, value);
    }
  }
}

async function* noted<T>(messages: AsyncIterable<T>, note: (message: T) => void): AsyncIterable<T> {
  for await (const message of messages) {
    note(message);
    yield message;
  }
}
