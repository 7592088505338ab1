import type { Call, Json } from "./contract.ts";
import { compare, findMismatches, show, type MatchOptions } from "./match.ts";

/** A call as it arrived. */
export interface ReceivedCall {
  readonly request: Json;
  /** Names in lower case. */
  readonly header: Headers;
  /** `undefined`: the caller set no deadline. */
  readonly timeoutMs: number | undefined;
}

/** Headers that belong to the transport or to tracing and are no contract's business. */
const ownHeaders =
  /^(:.*|grpc-.*|connect-.*|content-.*|accept.*|user-agent|te|host|connection|trace(parent|state)|baggage|authorization)$/;

const options: MatchOptions = { mode: "strict", given: ({ example }) => example };

/** What is other about a call than was expected, one line each. */
export function findCallFaults(expected: Call, { request, header, timeoutMs }: ReceivedCall): string[] {
  const { caller, deadlineMs, metadata = {} } = expected;
  const faults = findMismatches(expected.request, request, options).map(
    ({ path, problem }) => `request ${path}: ${problem}`,
  );
  const token = /^Bearer \S+$/i.test(header.get("authorization") ?? "");
  if (token !== (caller !== undefined)) {
    faults.push(token ? "a bearer token is not expected" : "there is no bearer token");
  }
  if (deadlineMs === undefined && timeoutMs !== undefined) faults.push("a deadline is not expected");
  if (deadlineMs !== undefined && !(timeoutMs !== undefined && timeoutMs <= deadlineMs)) {
    faults.push(`expected a deadline of at most ${deadlineMs} ms, got ${timeoutMs ?? "none"}`);
  }
  for (const [name, value] of Object.entries(metadata)) {
    const actual = header.get(name) ?? undefined;
    for (const { problem } of compare(value, actual, options, name))
      faults.push(`header ${name}: ${problem}`);
  }
  for (const [name, value] of header) {
    if (!(name in metadata) && !ownHeaders.test(name)) {
      faults.push(`header ${name} is not expected: ${show(value)}`);
    }
  }
  return faults;
}
