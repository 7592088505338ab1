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
import { remainingMs } from "#libs/rpc/deadline.ts";
import { currentTraceparent } from "#libs/telemetry/trace-context.ts";
import type { ChangeCase, ChangeRequest } from "../application/change-case.ts";
import type { Command } from "../domain/decide.ts";
import { callerOf } from "./caller.ts";
import { toCaseMessage } from "./messages.ts";

/** The longest a write may take, whatever the caller allows; in milliseconds. */
const writeCeilingMs = 10_000;

/** What every write request carries. */
interface WriteRequest {
  readonly requestId: string;
  readonly caseId?: string;
  readonly expectedVersion?: number;
}

/**
 * Makes the handler of one write method: its request becomes a command, its answer is `{ case }` as bytes, which is what
 * is recorded and replayed. A replay is marked by the header `caseflow-replayed: true`.
 */
export function createWrite<I extends DescMessage, O extends DescMessage>(
  changeCase: ChangeCase,
  method: DescMethodUnary<I, O>,
  toCommand: (request: MessageShape<I>) => Command,
): (request: MessageShape<I>, context: HandlerContext) => Promise<MessageShape<O>> {
  return async (request, context) => {
    // Every write method's request has these fields; the schema's test holds it.
    const { requestId, caseId, expectedVersion } = request as unknown as WriteRequest;
    const caller = callerOf(context);
    const change: ChangeRequest = {
      tenantId: caller.tenantId,
      actor: caller.actor,
      requestId: requestId.toLowerCase(),
      requestHash: hashOf(method, request),
      caseId: caseId?.toLowerCase(),
      expectedVersion,
      command: toCommand(request),
      correlationId: caller.correlationId,
      traceparent: currentTraceparent() ?? "",
      remainingMs: () => remainingMs(context, writeCeilingMs),
      // The output of every write method is a message with the one field `case`.
      encodeAnswer: (next) =>
        toBinary(method.output, create(method.output, { case: toCaseMessage(next) } as never)),
    };
    const result = await changeCase(change);
    if (result.replayed) context.responseHeader.set("caseflow-replayed", "true");
    return fromBinary(method.output, result.answer);
  };
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
