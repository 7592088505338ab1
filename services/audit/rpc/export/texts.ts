import { toJson } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

/** In RFC 3339, in UTC; empty where there is none. */
export function toTimeText(time: Timestamp | undefined): string {
  return time === undefined ? "" : toJson(TimestampSchema, time);
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
