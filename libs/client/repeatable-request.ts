import { clone, type DescField, type DescMethod, type Message, ScalarType } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { StreamRequest, UnaryRequest } from "@connectrpc/connect";
import { v7 } from "uuid";

/**
 * Gives the request as often as it is asked. `undefined` where that cannot be: the caller's messages come one by one, and
 * are gone once they are sent.
 *
 * A write without a `request_id` gets one, a UUID that all its attempts share.
 */
export async function repeatableRequest(
  request: UnaryRequest | StreamRequest,
): Promise<(() => UnaryRequest | StreamRequest) | undefined> {
  const { method } = request;
  if (!request.stream) {
    const message = withRequestId(method, request.message);
    return () => ({ ...request, message });
  }
  if (method.methodKind !== "server_streaming") return undefined;
  const messages: Message[] = [];
  for await (const message of request.message) messages.push(withRequestId(method, message));
  return () => ({ ...request, message: oneByOne(messages) });
}

/** A copy if it has to be changed: the message may be the caller's own. */
function withRequestId(method: DescMethod, message: Message): Message {
  const field = method.idempotency === MethodOptions_IdempotencyLevel.IDEMPOTENT && requestIdField(method);
  if (!field || Reflect.get(message, field.localName) !== "") return message;
  return Object.assign(clone(method.input, message), { [field.localName]: v7() });
}

function requestIdField({ input }: DescMethod): DescField | undefined {
  return input.fields.find(
    ({ name, fieldKind, scalar }) =>
      name === "request_id" && fieldKind === "scalar" && scalar === ScalarType.STRING,
  );
}

async function* oneByOne<T>(items: readonly T[]): AsyncIterable<T> {
  yield* items;
}
