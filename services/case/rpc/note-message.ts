import type { Message } from "@bufbuild/protobuf";
import type { CallNotes } from "#libs/rpc/call-notes.ts";

const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * What log lines tell of a message: the case that it names or that was made, the request id of a write, the dead letter that is
 * acted on. Only what has the form of an id, since messages are not validated yet.
 */
export function noteMessage(message: Message): CallNotes {
  // Fields of these names are ids in every message of ours; what else they were would not have an id's form.
  const {
    caseId,
    case: changed,
    requestId,
    eventId,
  } = message as Message & {
    readonly caseId?: unknown;
    readonly case?: { readonly caseId?: unknown };
    readonly requestId?: unknown;
    readonly eventId?: unknown;
  };
  return {
    caseId: readId(caseId) ?? readId(changed?.caseId),
    writeRequestId: readId(requestId),
    eventId: readId(eventId),
  };
}

function readId(value: unknown): string | undefined {
  return typeof value === "string" && idPattern.test(value) ? value.toLowerCase() : undefined;
}
