import { Code } from "@connectrpc/connect";

/** A code as the gRPC specification writes it, in lower case: `not_found`. */
export function codeName(code: Code): string {
  return (Code[code] ?? "Unknown").replace(/(?<=[a-z])[A-Z]/g, "_$&").toLowerCase();
}
