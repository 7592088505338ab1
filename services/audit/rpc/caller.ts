import type { HandlerContext } from "@connectrpc/connect";
import { remainingMs } from "#libs/rpc/deadline.ts";
import { principalKey } from "#libs/rpc/principal.ts";
import { listenerOf } from "#libs/service/listener.ts";
import type { Auditor } from "../application/access-log.ts";
import type { ListeningAuditor } from "../application/tail-events.ts";

/** The longest a call, or one step of a stream, may take, whatever the caller allows; in milliseconds. */
export const ceilingMs = 10_000;

/** Who reads, and how long they may. */
export function auditorOf(context: HandlerContext): Auditor {
  const principal = context.values.get(principalKey);
  if (principal?.tenantId === undefined) throw new Error("a handler ran without a verified tenant");
  const { id, kind, tenantId, roles, onBehalfOf = "" } = principal;
  return {
    tenantId,
    principal: { id, kind, roles: roles.toSorted(), onBehalfOf },
    remainingMs: () => remainingMs(context, ceilingMs),
    signal: context.signal,
  };
}

/** Who takes a stream, and for how long they may. */
export function listeningAuditorOf(context: HandlerContext): ListeningAuditor {
  return { ...auditorOf(context), ...listenerOf(context, ceilingMs) };
}
