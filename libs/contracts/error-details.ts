import { createRegistry, type DescMessage } from "@bufbuild/protobuf";
import { ErrorInfoSchema, file_google_rpc_error_details } from "#libs/gen/google/rpc/error_details_pb.ts";

import type { ExpectedMessage, RefusalAnswer } from "./contract.ts";

/** The types of google/rpc/error_details.proto, which every provider may send. */
export const detailTypes = createRegistry(file_google_rpc_error_details);

/** All that is expected of the error details, by type: domain and reason among them. */
export function expectedDetails({
  domain,
  reason,
  details = {},
}: RefusalAnswer): Map<DescMessage, ExpectedMessage> {
  const info: ExpectedMessage = {
    ...(domain !== undefined && { domain }),
    ...(reason !== undefined && { reason }),
    ...details[ErrorInfoSchema.typeName],
  };
  const all = { ...details, ...(Object.keys(info).length > 0 && { [ErrorInfoSchema.typeName]: info }) };
  return new Map(
    Object.entries(all).map(([typeName, fields]) => {
      const desc = detailTypes.getMessage(typeName);
      if (desc === undefined) throw new Error(`${typeName} is not among the known error details`);
      return [desc, fields];
    }),
  );
}
