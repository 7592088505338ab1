import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { InvalidArgumentError } from "commander";

import { createTimeReader } from "./import/read-time.ts";

const read = createTimeReader("iso", "UTC");

/** Reads a time given on the command line, in milliseconds at best; one without a zone is in UTC. */
export function readInstant(text: string): Timestamp {
  const ms = read(text);
  if (ms === undefined) {
    throw new InvalidArgumentError("It is a time such as 2026-01-31, or 2026-01-31T09:30:00Z.");
  }
  return timestampFromMs(ms);
}
