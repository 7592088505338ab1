import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { InvalidArgumentError } from "commander";
import { createCaseAdminClient, type CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

import type { CliConfig } from "../config.ts";
import { findService } from "../find-service.ts";

/** What every help text of these commands ends with, before its examples. */
export const whoCalls = `
The service is the one that CASE_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, of somebody with role
operator, or the local stack's operator's.`;

export async function openAdmin(config: CliConfig): Promise<CaseAdminClient> {
  return createCaseAdminClient(await findService(config, "operator"));
}

export function readEventId(text: string): string {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return text.toLowerCase();
  throw new InvalidArgumentError("An event's id is a UUID.");
}

/** The stable reason with which the service refused; `undefined` for whatever else went wrong. */
export function reasonOf(error: unknown): string | undefined {
  return error instanceof ConnectError ? error.findDetails(ErrorInfoSchema)[0]?.reason : undefined;
}

export function toTime(time: Timestamp | undefined): string {
  return time ? timestampDate(time).toISOString() : "";
}
