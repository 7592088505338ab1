import { createClient, type Client } from "@connectrpc/connect";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

import { openTransport, type ClientOptions } from "./open-transport.ts";

export type AuditClient = Client<typeof AuditService> & AsyncDisposable;

/** Opens a typed client of the audit service. A call without a time limit of its own has five seconds. */
export function createAuditClient(options: ClientOptions): AuditClient {
  const { transport, [Symbol.asyncDispose]: close } = openTransport(options);
  return Object.assign(createClient(AuditService, transport), { [Symbol.asyncDispose]: close });
}
