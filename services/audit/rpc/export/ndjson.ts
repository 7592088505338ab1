import type { EventWriter } from "../../application/export-events.ts";

/** A JSON object a line with leaf index and event bytes; the last line is the checkpoint. What can be verified offline. */
export const ndjson: EventWriter = {
  format: "ndjson",
  header: "",
  toLine: ({ leafIndex, bytes }) =>
    `{"leafIndex":${leafIndex},"event":"${Buffer.from(bytes).toString("base64")}"}\n`,
  toFooter: (checkpoint) => `${JSON.stringify({ checkpoint })}\n`,
};
