import { createClient, type Client } from "@connectrpc/connect";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

import type { ClientOptions } from "./client-options.ts";
import { openTransport } from "./open-transport.ts";

export type CaseClient = Client<typeof CaseService> & AsyncDisposable;

/**
 * Opens a typed client of the case service; disposing it closes its connections. What it does about failures, and its limits,
 * are in README.md beside this file.
 */
export function createCaseClient(options: ClientOptions): CaseClient {
  const { transport, [Symbol.asyncDispose]: close } = openTransport("case", options);
  return Object.assign(createClient(CaseService, transport), { [Symbol.asyncDispose]: close });
}
