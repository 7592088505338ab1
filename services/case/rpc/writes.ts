import { createHash } from "node:crypto";
import {
  clone,
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethodUnary,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import type { Origin } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { noteCall } from "#libs/rpc/call-notes.ts";
import { remainingMs } from "#libs/rpc/deadline.ts";
import { currentTraceparent } from "#libs/telemetry/trace-context.ts";
import type { WriteRequest, WriteResult } from "../application/apply-once.ts";
import type { ChangeCase } from "../application/change-case.ts";
import type { Command } from "../domain/command.ts";
import { callerOf } from "./caller.ts";
import { toCaseMessage } from "./messages.ts";
import { readOrigin } from "./origin.ts";

/** The longest a write may take, whatever the caller allows; in milliseconds. */
const writeCeilingMs = 10_000;

/** What every request that changes a case carries. */
interface CaseRequest {
  readonly caseId?: string;
  readonly expectedVersion?: number;
  readonly origin?: Origin;
}

/**
 * Makes the handler of one method that changes a case: its request becomes a command, its answer is `{ case }` as bytes,
 * which is what is recorded and replayed.
 */
export function createWrite<I extends DescMessage, O extends DescMessage>(
  changeCase: ChangeCase,
  method: DescMethodUnary<I, O>,
  toCommand: (request: MessageShape<I>) => Command,
): (request: MessageShape<I>, context: HandlerContext) => Promise<MessageShape<O>> {
  return async (request, context) => {
    // Every such method's request has these fields, or lacks them as the schema's test knows.
    const { caseId, expectedVersion, origin } = request as unknown as CaseRequest;
    const write = toWriteRequest(method, request, context);
    const { reportedAt, onBehalfOf } = readOrigin(method, origin, write.actor);
    const result = await changeCase({
      ...write,
      actor: { ...write.actor, onBehalfOf },
      caseId: caseId?.toLowerCase(),
      expectedVersion,
      command: toCommand(request),
      reportedAt,
      // The output of every such method is a message with the one field `case`.
      encodeAnswer: (next) =>
        toBinary(method.output, create(method.output, { case: toCaseMessage(next) } as never)),
    });
    return toAnswer(method, result, context);
  };
}

/** What every write carries, from its request, its token and its time. */
export function toWriteRequest<I extends DescMessage>(
  method: DescMethodUnary<I>,
  request: MessageShape<I>,
  context: HandlerContext,
): WriteRequest {
  const caller = callerOf(context);
  // Every write method's request has this field; the schema's test holds it.
  const { requestId } = request as unknown as { readonly requestId: string };
  return {
    tenantId: caller.tenantId,
    actor: caller.actor,
    requestId: requestId.toLowerCase(),
    requestHash: hashOf(method, request),
    correlationId: caller.correlationId,
    traceparent: currentTraceparent() ?? "",
    remainingMs: () => remainingMs(context, writeCeilingMs),
    signal: context.signal,
  };
}

/** The recorded answer as a message. A replay is marked by the header `caseflow-replayed: true`. */
export function toAnswer<O extends DescMessage>(
  { output }: DescMethodUnary<DescMessage, O>,
  { answer, replayed }: WriteResult,
  context: HandlerContext,
): MessageShape<O> {
  if (replayed) {
    context.responseHeader.set("caseflow-replayed", "true");
    noteCall(context.values, { replayed });
  }
  return fromBinary(output, answer);
}

/**
 * SHA-256 of the method's name and the message without its request id: the same for a retry, another for another request.
 * Letter case of the case id makes no difference, as it makes none to what the request does.
 */
function hashOf<I extends DescMessage>(method: DescMethodUnary<I>, request: MessageShape<I>): Uint8Array {
  const rest = Object.assign(clone(method.input, request), { requestId: "" });
  if ("caseId" in rest && typeof rest.caseId === "string")
    Object.assign(rest, { caseId: rest.caseId.toLowerCase() });
  const name = `${method.parent.typeName}/${method.name}`;
  return createHash("sha256").update(`${name}\n`).update(toBinary(method.input, rest)).digest();
}
