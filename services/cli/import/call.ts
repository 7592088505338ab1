import { setTimeout as pause } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

import { Failure } from "../failure.ts";

/** What the service answered when it refused a request, which no retry changes. */
export interface Refusal {
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly message: string;
}

/** How long an outage is waited out before the run is given up; a restart of the service takes seconds. */
const outageMs = 120_000;
const firstPauseMs = 100;
const pauseMsMax = 5_000;

const refusals: readonly Code[] = [
  Code.FailedPrecondition,
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.OutOfRange,
];

/**
 * Calls until the service answers or refuses. Whatever else goes wrong is an outage: the call is repeated, with the same
 * request id, until it ends. Throws a `Failure` after two minutes, or at once for a token that is not good.
 */
export async function callThrough<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T | Refusal> {
  const deadlineMs = performance.now() + outageMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, pauseMsMax)) {
    try {
      return await call();
    } catch (thrown) {
      const error = ConnectError.from(thrown);
      const { code, rawMessage } = error;
      const info = error.findDetails(ErrorInfoSchema)[0];
      if (code === Code.Unauthenticated) throw new Failure(`the token is not accepted: ${rawMessage}`);
      if (code === Code.Unimplemented) throw new Failure(`the service is of another release: ${rawMessage}`);
      if (info && refusals.includes(code)) {
        return { reason: info.reason, metadata: info.metadata, message: rawMessage };
      }
      if (performance.now() + pauseMs > deadlineMs) {
        throw new Failure(`the case service does not answer: ${rawMessage}. Run the same command again.`);
      }
    }
    await pause(pauseMs * (0.5 + Math.random() / 2), undefined, { signal });
  }
}

export function isRefusal(answer: unknown): answer is Refusal {
  return typeof answer === "object" && answer !== null && "reason" in answer && "metadata" in answer;
}
