import { createClient, type Client } from "@connectrpc/connect";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

import type { ClientOptions } from "./client-options.ts";
import { openTransport } from "./open-transport.ts";

export type AuditClient = Client<typeof AuditService> & AsyncDisposable;

/**
 * Opens a typed client of the audit service; disposing it closes its connections. What it does about failures, and its limits,
 * are in README.md beside this file.
 */
export function createAuditClient(options: ClientOptions): AuditClient {
  const { transport, [Symbol.asyncDispose]: close } = openTransport("audit", options);
  return Object.assign(createClient(AuditService, transport), { [Symbol.asyncDispose]: close });
}
