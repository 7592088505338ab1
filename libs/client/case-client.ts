import { createClient, type Client } from "@connectrpc/connect";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

import { openTransport, type ClientOptions } from "./open-transport.ts";

export type CaseClient = Client<typeof CaseService> & AsyncDisposable;

/** Opens a typed client of the case service. A call without a time limit of its own has five seconds. */
export function createCaseClient(options: ClientOptions): CaseClient {
  const { transport, [Symbol.asyncDispose]: close } = openTransport(options);
  return Object.assign(createClient(CaseService, transport), { [Symbol.asyncDispose]: close });
}
