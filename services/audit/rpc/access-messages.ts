import { create } from "@bufbuild/protobuf";
import { timestampFromDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import {
  AccessMethod as MethodMessage,
  AccessSchema,
  type Access as AccessMessage,
  type AccessFilter as FilterMessage,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import type { Access, AccessFilter, AccessMethod } from "../domain/access.ts";
import { expectTime } from "./read-filter.ts";

const messageByMethod: Readonly<Record<AccessMethod, MethodMessage>> = {
  GetEvent: MethodMessage.GET_EVENT,
  ListEvents: MethodMessage.LIST_EVENTS,
  TailEvents: MethodMessage.TAIL_EVENTS,
  ExportEvents: MethodMessage.EXPORT_EVENTS,
  ListAccesses: MethodMessage.LIST_ACCESSES,
};
const kinds = { person: ActorKind.PERSON, service: ActorKind.SERVICE };

/** Reads a filter that keeps to its schema. Fault INVALID_REQUEST for times that are none. */
export function readAccessFilter(message: FilterMessage | undefined): AccessFilter {
  if (!message) return {};
  const { principalId, atFrom, atBefore } = message;
  const method = methods.find((name) => messageByMethod[name] === message.method);
  return {
    ...(principalId !== "" && { principalId }),
    ...(method !== undefined && { method }),
    ...(atFrom && { from: toDate(expectTime("at_from", atFrom)) }),
    ...(atBefore && { before: toDate(expectTime("at_before", atBefore)) }),
  };
}

const methods = Object.keys(messageByMethod) as AccessMethod[]; // The keys that its type asks for.

/** Accesses have whole milliseconds: what is not before a part of one is not before the next whole one. */
function toDate({ seconds, nanos }: Timestamp): Date {
  return new Date(Number(seconds) * 1_000 + Math.ceil(nanos / 1_000_000));
}

export function toAccessMessage(access: Access): AccessMessage {
  const { accessId, at, principal, filter, outcome, firstLeafIndex, lastLeafIndex } = access;
  return create(AccessSchema, {
    accessId,
    at: timestampFromDate(at),
    principal: { ...principal, kind: kinds[principal.kind], roles: [...principal.roles] },
    method: Object.hasOwn(messageByMethod, access.method)
      ? messageByMethod[access.method as AccessMethod] // Just looked up.
      : MethodMessage.UNSPECIFIED,
    filter,
    outcome,
    givenCount: BigInt(access.givenCount),
    ...(firstLeafIndex !== undefined && { firstLeafIndex }),
    ...(lastLeafIndex !== undefined && { lastLeafIndex }),
    begunBy: access.begunBy ?? "",
  });
}
