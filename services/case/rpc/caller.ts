import type { HandlerContext } from "@connectrpc/connect";
import { principalKey } from "#libs/rpc/principal.ts";
import { correlationIdKey } from "#libs/rpc/request-context.ts";
import { remainingMs } from "#libs/rpc/deadline.ts";
import type { Actor } from "../application/event-facts.ts";
import type { PageRequest } from "../application/page.ts";
import type { Reader } from "../application/read-rows.ts";

/** The longest a read may take, whatever the caller allows; in milliseconds. */
const readCeilingMs = 10_000;
const pageSizeDefault = 50;

export interface Caller {
  readonly tenantId: string;
  readonly actor: Actor;
  readonly correlationId: string;
}

/** Who calls, from the verified token. Authentication has refused whoever has none, and tokens without a tenant. */
export function callerOf(context: HandlerContext): Caller {
  const principal = context.values.get(principalKey);
  if (principal?.tenantId === undefined) throw new Error("a handler ran without a verified tenant");
  return {
    tenantId: principal.tenantId,
    actor: {
      id: principal.id,
      kind: principal.kind,
      roles: principal.roles.toSorted(),
      onBehalfOf: principal.onBehalfOf ?? "",
    },
    correlationId: context.values.get(correlationIdKey),
  };
}

/** Who reads, and how long they may. */
export function readerOf(context: HandlerContext): Reader {
  return {
    tenantId: callerOf(context).tenantId,
    remainingMs: () => remainingMs(context, readCeilingMs),
    signal: context.signal,
  };
}

/** Which page a request asks for. */
export function pageOf(request: { readonly pageSize: number; readonly pageToken: string }): PageRequest {
  return { size: request.pageSize === 0 ? pageSizeDefault : request.pageSize, token: request.pageToken };
}
