import type { HandlerContext } from "@connectrpc/connect";
import { Fault } from "#libs/fault/fault.ts";
import { remainingMs } from "#libs/rpc/deadline.ts";
import { principalKey, verifyAgainKey } from "#libs/rpc/principal.ts";

/** Who takes a stream, and for how long they may. */
export interface Listener {
  readonly tenantId: string;
  /** When the token ends. */
  readonly expiresAt: Date;
  /** Rejects as authentication does once the token is not taken any more, because its key was withdrawn. */
  readonly verifyAgain: () => Promise<unknown>;
  /** Aborted when the caller has gone, or has had enough. */
  readonly signal: AbortSignal;
  /** What one step may take; throws when the caller's time is up. */
  readonly remainingMs: () => number;
}

/** What ends streams from this side. */
export interface StreamEnds {
  readonly now: () => Date;
  /** Aborted when the service stops. Absent: the stream goes on while the service drains. */
  readonly stopping?: AbortSignal;
}

const retryAfterMs = 5_000;

/** Who called a streaming method, from the verified token; one step takes `ceilingMs` at most. */
export function listenerOf(context: HandlerContext, ceilingMs: number): Listener {
  const principal = context.values.get(principalKey);
  if (principal?.tenantId === undefined) throw new Error("a handler ran without a verified tenant");
  return {
    tenantId: principal.tenantId,
    expiresAt: principal.expiresAt,
    verifyAgain: context.values.get(verifyAgainKey),
    signal: context.signal,
    remainingMs: () => remainingMs(context, ceilingMs),
  };
}

/**
 * How long a listener may still listen, in milliseconds. Throws why the caller has gone; Fault OVERLOADED when the service stops,
 * UNAUTHENTICATED once the token has expired.
 */
export function listeningMs({ signal, expiresAt }: Listener, { now, stopping }: StreamEnds): number {
  signal.throwIfAborted();
  if (stopping?.aborted) {
    const message = "the service stops: resume in a moment";
    throw new Fault<"OVERLOADED">("OVERLOADED", {}, { message, retryAfterMs });
  }
  const leftMs = expiresAt.getTime() - now().getTime();
  if (leftMs > 0) return leftMs;
  const message = "the token has expired";
  throw new Fault<"UNAUTHENTICATED">("UNAUTHENTICATED", { why: "expired" }, { message });
}
