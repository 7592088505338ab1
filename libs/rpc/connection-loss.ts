/**
 * What connect-node reports when an answer did not come, and what it should have said. It calls a lost connection Canceled,
 * Aborted, Internal or Unknown, depending on the moment; a status that a server sent can carry the same codes.
 */
import { Code, ConnectError } from "@connectrpc/connect";

/**
 * `unsent`: the server has not worked on the call, so that sending it again is safe whatever it does. `lost`: nobody knows
 * whether it has.
 */
export type ConnectionLoss = "unsent" | "lost";

/** Of Node, where no request can have gone out, beside what a failed connect says. */
const unsentCodes = new Set([
  "ENOTFOUND",
  "EAI_AGAIN",
  "ERR_HTTP2_GOAWAY_SESSION",
  "ERR_HTTP2_INVALID_SESSION",
]);

/** HTTP/2 errors that say something of the caller, and their codes (gRPC over HTTP2, section "Errors"). */
const meantCodes: readonly [name: string, code: Code][] = [
  ["ENHANCE_YOUR_CALM", Code.ResourceExhausted],
  ["INADEQUATE_SECURITY", Code.PermissionDenied],
  ["HTTP_1_1_REQUIRED", Code.PermissionDenied],
];

/**
 * Whether a call failed for its connection or stream, rather than with an answer: `undefined` for an answer, and for what
 * the client itself refuses, such as a message above its limit. What the caller aborted is not for here.
 */
export function connectionLossOf(error: ConnectError): ConnectionLoss | undefined {
  if (error.isWireError) return undefined;
  const chain = causesOf(error);
  const text = textOf(error);
  if (text.includes("REFUSED_STREAM")) return "unsent";
  if (meantCodeOf(text) !== undefined) return undefined;
  // An answer that is too large or cannot be unpacked has a code of Node's as its cause, and is an answer all the same.
  if (error.code === Code.ResourceExhausted || error.code === Code.InvalidArgument) return undefined;
  const codes = chain.map((cause) => ("code" in cause && typeof cause.code === "string" ? cause.code : ""));
  if (codes.some((code) => /^ERR_HTTP2_INVALID_\w*HEADER/.test(code))) return undefined;
  if (codes.some((code) => unsentCodes.has(code))) return "unsent";
  if (chain.some(isFailedConnect)) return "unsent";
  const isBroken = error.code === Code.Canceled || error.code === Code.Aborted || codes.some((code) => code);
  return isBroken || text.includes("http/2 stream closed") ? "lost" : undefined;
}

/** The error with the code it should have: a loss is UNAVAILABLE, and what came as an answer stays what it is. */
export function withRightCode(error: ConnectError): ConnectError {
  if (error.isWireError) return error;
  const loss = connectionLossOf(error);
  const code = loss === undefined ? meantCodeOf(textOf(error)) : Code.Unavailable;
  if (code === undefined || error.code === code) return error;
  const what = loss === "lost" ? "the connection was lost: " : "";
  return new ConnectError(`${what}${error.rawMessage}`, code, undefined, undefined, error);
}

function meantCodeOf(text: string): Code | undefined {
  return meantCodes.find(([name]) => text.includes(name))?.[1];
}

function textOf(error: Error): string {
  return causesOf(error)
    .map(({ message }) => message)
    .join("\n");
}

/** Of a name with several addresses Node sums up what each said. */
function isFailedConnect(cause: Error): boolean {
  if (cause instanceof AggregateError) return cause.errors.length > 0 && cause.errors.every(isFailedConnect);
  return "syscall" in cause && cause.syscall === "connect";
}

/** The error and its causes; the chain of a malformed one ends at ten. */
function causesOf(error: Error): Error[] {
  const chain: Error[] = [];
  for (let next: unknown = error; next instanceof Error && chain.length < 10; next = next.cause)
    chain.push(next);
  return chain;
}
