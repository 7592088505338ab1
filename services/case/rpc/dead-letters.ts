import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import type { DeadLetters, ListedDeadLetter } from "../application/dead-letters.ts";
import { pageOf, readerOf } from "./caller.ts";
import { toAnswer, toWriteRequest } from "./writes.ts";

type Handlers = Pick<
  ServiceImpl<typeof CaseAdminService>,
  "listDeadLetters" | "redriveDeadLetters" | "skipDeadLetter"
>;

/** The methods of CaseAdminService about dead letters. */
export function createDeadLetterHandlers(deadLetters: DeadLetters): Handlers {
  const { redriveDeadLetters, skipDeadLetter } = CaseAdminService.method;
  return {
    async listDeadLetters(request, context) {
      const filter = { caseId: toLowerCase(request.caseId), eventId: toLowerCase(request.eventId) };
      const page = await deadLetters.list(readerOf(context), filter, pageOf(request));
      return { deadLetters: page.items.map(toMessage), nextPageToken: page.nextToken };
    },

    async redriveDeadLetters(request, context) {
      const result = await deadLetters.redrive({
        ...toWriteRequest(redriveDeadLetters, request, context),
        eventIds: [...new Set(request.eventIds.map((eventId) => eventId.toLowerCase()))],
        encodeAnswer: (redrivenEventIds) => {
          const { output } = redriveDeadLetters;
          return toBinary(output, create(output, { redrivenEventIds: [...redrivenEventIds] }));
        },
      });
      return toAnswer(redriveDeadLetters, result, context);
    },

    async skipDeadLetter(request, context) {
      const result = await deadLetters.skip({
        ...toWriteRequest(skipDeadLetter, request, context),
        eventId: request.eventId.toLowerCase(),
        reason: request.reason,
        encodeAnswer: (tombstoneEventId) => {
          const { output } = skipDeadLetter;
          return toBinary(output, create(output, { tombstoneEventId }));
        },
      });
      return toAnswer(skipDeadLetter, result, context);
    },
  };
}

function toLowerCase(id: string): string | undefined {
  return id === "" ? undefined : id.toLowerCase();
}

function toMessage({ event, deadAt, tombstoneEventId = "", ...rest }: ListedDeadLetter) {
  return {
    ...rest,
    event: fromBinary(EventSchema, event),
    deadAt: timestampFromDate(deadAt),
    tombstoneEventId,
  };
}
