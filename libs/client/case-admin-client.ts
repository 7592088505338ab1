import { createClient, type Client } from "@connectrpc/connect";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";

import type { ClientOptions } from "./client-options.ts";
import { openTransport } from "./open-transport.ts";

export type CaseAdminClient = Client<typeof CaseAdminService> & AsyncDisposable;

/**
 * Opens a typed client of the case service's administration; disposing it closes its connections. What it does about failures,
 * and its limits, are in README.md beside this file.
 */
export function createCaseAdminClient(options: ClientOptions): CaseAdminClient {
  const { transport, [Symbol.asyncDispose]: close } = openTransport("case", options);
  return Object.assign(createClient(CaseAdminService, transport), { [Symbol.asyncDispose]: close });
}
