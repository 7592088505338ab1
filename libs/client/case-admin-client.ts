import { createClient, type Client } from "@connectrpc/connect";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";

import { openTransport, type ClientOptions } from "./open-transport.ts";

export type CaseAdminClient = Client<typeof CaseAdminService> & AsyncDisposable;

/** Opens a typed client of the case service's administration. A call without a time limit of its own has five seconds. */
export function createCaseAdminClient(options: ClientOptions): CaseAdminClient {
  const { transport, [Symbol.asyncDispose]: close } = openTransport(options);
  return Object.assign(createClient(CaseAdminService, transport), { [Symbol.asyncDispose]: close });
}
