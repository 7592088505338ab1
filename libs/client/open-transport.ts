import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { orAbort } from "#libs/resilience/or-abort.ts";
import { startTimeBudget, type TimeBudget } from "#libs/resilience/time-budget.ts";
import { timeUp } from "#libs/rpc/deadline.ts";
import { createSessionPool } from "#libs/rpc/session-pool.ts";
import { clientSpans } from "#libs/telemetry/client-spans.ts";

import { createCallEvents } from "./call-events.ts";
import { callPolicy } from "./call-policy.ts";
import { withCallTime } from "./call-time.ts";
import { type ClientOptions, readOptions } from "./client-options.ts";
import { createTokens, type Tokens } from "./token-source.ts";

/** Disposing closes the connections; calls under way, and later ones, fail with CANCELED. */
export interface OpenTransport extends AsyncDisposable {
  readonly transport: Transport;
}

/**
 * Opens a transport to one of our services with the policy inside; `target` names it in metrics and messages. Nothing is
 * connected before the first call.
 */
export function openTransport(target: string, options: ClientOptions): OpenTransport {
  const { urls, token, protocol, limits, clock } = readOptions(options);
  const { connection } = limits;
  const events = createCallEvents(target);
  const closed = new AbortController();
  const sessions = createSessionPool(urls, {
    clock,
    connectionAgeMs: connection.ageMs,
    healthIntervalMs: connection.healthIntervalMs,
    idleConnectionTimeoutMs: connection.idleMs,
    connectTimeoutMs: connection.connectTimeoutMs,
    pulse: connection.pulse,
    onHealth: events.address,
    onRenewal: events.renewal,
  });
  const createTransport = protocol === "grpc" ? createGrpcTransport : createConnectTransport;
  const inner = createTransport({
    baseUrl: sessions.authority,
    httpVersion: "2",
    sessionManager: sessions,
    // The policy hands each attempt its time; `defaultTimeoutMs` would start anew with each.
    interceptors: [
      clientSpans,
      withToken(createTokens(token, clock)),
      callPolicy({ target, limits, protocol, clock, events }),
    ],
    readMaxBytes: limits.readMaxBytes,
  });

  /** To connect-node a timeout of 0 or less means no deadline: a spent budget would become an endless call. */
  function startCall(
    method: string,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ): TimeBudget {
    const totalMs = timeoutMs ?? limits.defaultTimeoutMs;
    if (totalMs > 0) return startTimeBudget(clock, totalMs, timeUp, [closed.signal, signal]);
    events.refusal(method, "deadline");
    throw timeUp();
  }

  const openStream: Transport["stream"] = async (method, signal, timeoutMs, header, input, values) => {
    const time = startCall(method.name, signal, timeoutMs);
    try {
      return await inner.stream(method, time.signal, undefined, header, input, withCallTime(values, time));
    } catch (error) {
      time[Symbol.dispose]();
      throw error;
    }
  };

  return {
    transport: {
      async unary(method, signal, timeoutMs, header, input, values) {
        using time = startCall(method.name, signal, timeoutMs);
        return await inner.unary(method, time.signal, undefined, header, input, withCallTime(values, time));
      },
      stream(method, signal, timeoutMs, header, input, values) {
        const answer = openStream(method, signal, timeoutMs, header, input, values);
        // Connect's clients call at once, and listen only when somebody reads: until then nobody else would.
        answer.catch(() => {});
        return answer;
      },
    },
    async [Symbol.asyncDispose]() {
      closed.abort(new ConnectError("the client is closed", Code.Canceled));
      sessions.abort();
      events[Symbol.dispose]();
    },
  };
}

/** A call's attempts share one token. */
function withToken(tokens: Tokens): Interceptor {
  return (next) => async (request) => {
    const token = await orAbort(tokens.current(), request.signal);
    request.header.set("authorization", `Bearer ${token}`);
    try {
      return await next(request);
    } catch (error) {
      const isRefused =
        error instanceof ConnectError && error.code === Code.Unauthenticated && error.isWireError;
      if (isRefused) tokens.discard(token);
      throw error;
    }
  };
}
