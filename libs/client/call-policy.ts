/**
 * The policy of one target, around every call to it. A call has one time budget and as many attempts as the rules of
 * `judge-failure.ts` allow; an attempt needs a place in the bulkhead and the leave of its method's circuit breaker:
 *
 *   call ── attempt: breaker ── bulkhead ── breaker ── the wire
 *     └──── wait, if time and retry budget allow, and the next attempt
 *
 * The breaker is asked before the wait for a place, so that nobody queues for what is refused anyway, and again after it. What
 * it or the bulkhead refuses is not tried again.
 */
import {
  Code,
  ConnectError,
  type Interceptor,
  type StreamRequest,
  type StreamResponse,
  type UnaryRequest,
  type UnaryResponse,
} from "@connectrpc/connect";
import { BulkheadFullError, createBulkhead } from "#libs/resilience/bulkhead.ts";
import { type CircuitBreaker, createCircuitBreaker } from "#libs/resilience/circuit-breaker.ts";
import type { Clock } from "#libs/resilience/clock.ts";
import { orAbort } from "#libs/resilience/or-abort.ts";
import { createRetryBudget } from "#libs/resilience/retry-budget.ts";
import { retry, type RetryLimits } from "#libs/resilience/retry.ts";
import type { TimeBudget } from "#libs/resilience/time-budget.ts";
import { withRightCode } from "#libs/rpc/connection-loss.ts";
import { timeUp } from "#libs/rpc/deadline.ts";
import type { CallEvents, Refusal } from "./call-events.ts";
import { callTimeOf } from "./call-time.ts";
import type { ClientLimits } from "./client-options.ts";
import { isInfrastructureFailure, judgeFailure } from "./judge-failure.ts";
import { repeatableRequest } from "./repeatable-request.ts";
import { untilFirstMessage, watchStream } from "./stream-answer.ts";

type Request = UnaryRequest | StreamRequest;
type Response = UnaryResponse | StreamResponse;

export interface CallPolicyOptions {
  /** For messages. */
  readonly target: string;
  readonly limits: ClientLimits;
  readonly protocol: "grpc" | "connect";
  readonly clock: Clock;
  readonly events: CallEvents;
}

/** Made here and not by the service: nothing was sent, and another attempt would be refused too. */
class RefusedError extends Error {
  override readonly name = "RefusedError";
}

/** An attempt that took all the time it had, while the call has some left. */
class HungError extends Error {
  override readonly name = "HungError";
}

/** Less cannot be told to a service: 0 would mean no limit. */
const leastTimeoutMs = 1;

const oneAttempt: RetryLimits = { attemptsMax: 1, baseMs: 0, capMs: 0 };

/** Wants the call's time in its context values, and gives it back when a stream ends. */
export function callPolicy({ target, limits, protocol, clock, events }: CallPolicyOptions): Interceptor {
  const bulkhead = createBulkhead(limits.bulkhead);
  const retryBudget = limits.retryBudget === "off" ? undefined : createRetryBudget(limits.retryBudget);
  const breakers = new Map<string, CircuitBreaker>();
  events.watch({
    breakers: () => breakers.entries().map(([method, breaker]) => [method, breaker.state()]),
    retriesLeft: () => retryBudget?.left(),
  });

  function breakerOf(method: string): CircuitBreaker | undefined {
    if (limits.breaker === "off") return undefined;
    const known = breakers.get(method);
    if (known) return known;
    const breaker = createCircuitBreaker(clock, limits.breaker, (to) => events.breaker(method, to));
    breakers.set(method, breaker);
    return breaker;
  }

  function refused(method: string, by: Refusal, code: Code, why: string): ConnectError {
    events.refusal(method, by);
    return new ConnectError(`${target} service: ${why}`, code, undefined, undefined, new RefusedError(by));
  }

  async function takePlace(method: string, signal: AbortSignal): Promise<() => void> {
    try {
      return await bulkhead.enter(signal);
    } catch (error) {
      if (!(error instanceof BulkheadFullError)) throw error;
      throw refused(method, "bulkhead", Code.ResourceExhausted, "too many calls are under way");
    }
  }

  /** One attempt on the wire; `timeoutMs` is what the service is told. */
  async function send(request: Request, time: TimeBudget, timeoutMs: number, next: Next): Promise<Response> {
    const { attemptTimeoutMs } = limits;
    const hung = new AbortController();
    const callOff =
      attemptTimeoutMs === undefined ? undefined : clock.after(attemptTimeoutMs, () => hung.abort(timeUp()));
    // The service may keep the attempt's time too, and say so before our timer does.
    const isCut = !request.stream && attemptTimeoutMs !== undefined && attemptTimeoutMs < time.remainingMs();
    const signal = callOff ? AbortSignal.any([request.signal, hung.signal]) : request.signal;
    const header = withTimeout(request.header, protocol, timeoutMs);
    try {
      return await orAbort(untilFirstMessage(next({ ...request, header, signal })), signal);
    } catch (error) {
      const keptTime = isCut && ConnectError.from(error).code === Code.DeadlineExceeded;
      if ((hung.signal.aborted || keptTime) && !time.signal.aborted) {
        const cause = new HungError(`no answer in ${attemptTimeoutMs} ms`);
        throw new ConnectError(cause.message, Code.DeadlineExceeded, undefined, undefined, cause);
      }
      throw toStatus(error, time.signal);
    } finally {
      callOff?.();
    }
  }

  async function attempt(request: Request, time: TimeBudget, next: Next): Promise<Response> {
    const method = request.method.name;
    const breaker = breakerOf(method);
    const open = () => refused(method, "breaker", Code.Unavailable, `the circuit of ${method} is open`);
    if (breaker?.isRefusing()) throw open();
    const leave = await takePlace(method, time.signal);
    let isStream = false;
    try {
      // A stream's attempt ends with its first message; what follows has the call's time.
      const attemptMs = request.stream ? Infinity : (limits.attemptTimeoutMs ?? Infinity);
      const leftMs = Math.min(time.remainingMs(), attemptMs);
      const timeoutMs = Math.floor(leftMs - limits.marginMs);
      if (timeoutMs < leastTimeoutMs)
        throw refused(method, "deadline", Code.DeadlineExceeded, "no time is left for an attempt");
      const permit = breaker?.enter();
      if (breaker && !permit) throw open();
      const startedAt = performance.now();
      const tell = (code: Code | "ok") => events.attempt(method, code, performance.now() - startedAt);
      try {
        const response = await send(request, time, timeoutMs, next);
        permit?.settle("success");
        tell("ok");
        isStream = response.stream;
        return response.stream ? watched(response, time, leave) : response;
      } catch (error) {
        const status = ConnectError.from(error);
        permit?.settle(
          isInfrastructureFailure(status) ? "failure" : time.signal.aborted ? "unknown" : "success",
        );
        tell(status.code);
        throw status;
      }
    } finally {
      if (!isStream) leave();
    }
  }

  return (next) => async (request) => {
    const { method } = request;
    const time = callTimeOf(request.contextValues);
    const repeat = await repeatableRequest(request);
    try {
      return await retry(
        {
          limits: limits.retry === "off" || !repeat ? oneAttempt : limits.retry,
          clock,
          time,
          attemptMinMs: limits.marginMs + leastTimeoutMs,
          budget: retryBudget,
          judge(error) {
            const status = ConnectError.from(error);
            if (status.cause instanceof RefusedError) return { again: false };
            return judgeFailure(method, status, status.cause instanceof HungError);
          },
          onRetry: ({ attempt: number, waitMs, error }) =>
            events.retry(method.name, number, waitMs, ConnectError.from(error).code),
          onBudgetSpent: () => events.refusal(method.name, "retry_budget"),
        },
        () => attempt(repeat?.() ?? request, time, next),
      );
    } catch (error) {
      throw toStatus(error, time.signal);
    }
  };
}

type Next = (request: Request) => Promise<Response>;

/** What the caller is told: the reason of its own abort or of the deadline, if that came first. */
function toStatus(error: unknown, signal: AbortSignal): ConnectError {
  if (signal.aborted) return ConnectError.from(signal.reason, Code.Canceled);
  return withRightCode(ConnectError.from(error));
}

/** A stream keeps its place until it ends, and its time. */
function watched(response: StreamResponse, time: TimeBudget, leave: () => void): StreamResponse {
  const onEnd = () => {
    leave();
    time[Symbol.dispose]();
  };
  time.signal.addEventListener("abort", onEnd, { once: true });
  const toError = (error: unknown) => toStatus(error, time.signal);
  return { ...response, message: watchStream(response.message, { toError, onEnd, signal: time.signal }) };
}

/** gRPC has eight digits for a timeout. */
const timeoutMsMax = 99_999_999;

function withTimeout(given: Headers, protocol: "grpc" | "connect", timeoutMs: number): Headers {
  const header = new Headers(given);
  const ms = Math.min(timeoutMs, timeoutMsMax);
  if (protocol === "grpc") header.set("grpc-timeout", `${ms}m`);
  else header.set("connect-timeout-ms", String(ms));
  return header;
}
