import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

/** Waits for a call; returns how it was refused, such as `NotFound CASE_NOT_FOUND`, or `accepted`. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "accepted";
  } catch (error) {
    const refusal = ConnectError.from(error);
    return `${Code[refusal.code]} ${refusal.findDetails(ErrorInfoSchema)[0]?.reason ?? "(no reason)"}`;
  }
}
