import type { Message } from "@bufbuild/protobuf";
import type { CallNotes } from "#libs/rpc/call-notes.ts";
import type { BatchFacts } from "../application/record-events.ts";

const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Subjects and correlation ids are of others' making; none that is told has blanks, as what people write has. */
const namePattern = /^[\x21-\x7e]{1,256}$/;

/**
 * What log lines tell of a request: the event that is asked for, or the subject. Only what looks like one, since requests are not
 * validated yet. Batches of events are noted once they are read.
 */
export function noteMessage(message: Message): CallNotes {
  const { eventId, filter, target } = message as Message & {
    readonly eventId?: unknown;
    readonly filter?: { readonly subject?: unknown };
    readonly target?: { readonly value?: unknown };
  };
  return {
    eventId: (fits(idPattern, eventId) ?? fits(idPattern, target?.value))?.toLowerCase(),
    subject: fits(namePattern, filter?.subject),
  };
}

/** What is told of a batch: whose it is, and what ties its line to those of the calls that made its events. */
export function noteBatch({ tenantIds, subjects, correlationIds }: BatchFacts): CallNotes {
  const named = (values: readonly string[]) => values.filter((value) => namePattern.test(value));
  return { tenant: tenantIds[0], subjects: named(subjects), correlationIds: named(correlationIds) };
}

function fits(pattern: RegExp, value: unknown): string | undefined {
  return typeof value === "string" && pattern.test(value) ? value : undefined;
}
