import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import type { EventFilterSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

import { readInstant } from "./read-instant.ts";

/** Which events are meant, as options of a command. */
export interface FilterOptions {
  readonly subject?: string;
  readonly type?: string;
  readonly source?: string;
  readonly actor?: string;
  readonly onBehalfOf?: string;
  readonly request?: string;
  readonly correlation?: string;
  readonly occurredFrom?: Timestamp;
  readonly occurredBefore?: Timestamp;
  readonly recordedFrom?: Timestamp;
  readonly recordedBefore?: Timestamp;
  readonly receivedFrom?: Timestamp;
  readonly receivedBefore?: Timestamp;
}

/** Lets a command take a filter; what is given must all hold. */
export function addFilterOptions(command: Command): Command {
  command
    .option("--subject <id>", "only of this subject, such as a case")
    .option("--type <type>", "only of this type, such as caseflow.case.submitted")
    .option("--source <source>", "only told by this source")
    .option("--actor <id>", "only done by this principal")
    .option("--on-behalf-of <id>", "only done for this principal")
    .option("--request <id>", "only caused by this request")
    .option("--correlation <id>", "only of this undertaking");
  for (const [name, meaning] of [
    ["occurred", "that happened"],
    ["recorded", "that their source recorded"],
    ["received", "that the audit service stored"],
  ] as const) {
    command
      .option(`--${name}-from <time>`, `only events ${meaning} at or after this time`, readInstant)
      .option(`--${name}-before <time>`, `only events ${meaning} before this time`, readInstant);
  }
  return command;
}

export function toFilter(options: FilterOptions): MessageInitShape<typeof EventFilterSchema> {
  const { actor = "", request = "", correlation = "" } = options;
  const { subject = "", type = "", source = "", onBehalfOf = "" } = options;
  const { occurredFrom, occurredBefore, recordedFrom, recordedBefore, receivedFrom, receivedBefore } =
    options;
  return {
    ...{ subject, type, source, onBehalfOf, actorId: actor, requestId: request, correlationId: correlation },
    ...(occurredFrom && { occurredFrom }),
    ...(occurredBefore && { occurredBefore }),
    ...(recordedFrom && { recordedFrom }),
    ...(recordedBefore && { recordedBefore }),
    ...(receivedFrom && { receivedFrom }),
    ...(receivedBefore && { receivedBefore }),
  };
}
