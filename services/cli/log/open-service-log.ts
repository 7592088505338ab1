import type { AuditClient } from "#libs/client/audit-client.ts";
import { ExportFormat } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

import { readExport } from "../verify/read-export.ts";
import { readLines } from "../verify/read-lines.ts";
import type { ServiceLog } from "./update-mirror.ts";

/** What an export may take, however large the log. */
const exportTimeoutMs = 6 * 3_600_000;

/** The tenant's log as the audit service tells it. */
export function openServiceLog(audit: AuditClient): ServiceLog {
  return {
    exportFrom: (leafIndex) => readExport(readLines(streamExport(audit, leafIndex))),
    async proveConsistency(first, second) {
      const sizes = { firstSize: BigInt(first), secondSize: BigInt(second) };
      return (await audit.getConsistencyProof(sizes)).hashes;
    },
  };
}

/** The bytes of the log's export from a leaf on, in pieces. */
async function* streamExport(audit: AuditClient, fromLeafIndex: number): AsyncGenerator<Uint8Array> {
  const request = { format: ExportFormat.NDJSON, fromLeafIndex: BigInt(fromLeafIndex) };
  for await (const { data } of audit.exportEvents(request, { timeoutMs: exportTimeoutMs })) yield data;
}
