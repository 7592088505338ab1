/** What an export is bounded by. */
export interface ExportBound {
  readonly origin: string;
  readonly treeSize: number;
  /** In base64. */
  readonly rootHash: string;
}

/** What an export holds. */
export interface ExportFacts {
  readonly tenantId: string;
  readonly format: string;
  /** As canonical JSON. */
  readonly filter: string;
  readonly checkpoint: ExportBound;
  readonly eventCount: number;
  /** Of the events in it; `undefined` when there are none. */
  readonly firstLeafIndex: bigint | undefined;
  readonly lastLeafIndex: bigint | undefined;
  /** Of all its bytes, in base64. */
  readonly sha256: string;
}

/**
 * Says what an export holds, in one way only: a line each, in this order, each ending in a line feed. Fit for a C2SP signed note:
 * canonical JSON has no control characters.
 */
export function formatManifest(facts: ExportFacts): string {
  const { checkpoint } = facts;
  const lines: readonly (readonly [string, string | number | bigint])[] = [
    ["origin", checkpoint.origin],
    ["tenant", facts.tenantId],
    ["format", facts.format],
    ["filter", facts.filter],
    ["first-leaf-index", facts.firstLeafIndex ?? "none"],
    ["last-leaf-index", facts.lastLeafIndex ?? "none"],
    ["event-count", facts.eventCount],
    ["sha256", facts.sha256],
    ["tree-size", checkpoint.treeSize],
    ["root-hash", checkpoint.rootHash],
  ];
  return ["caseflow export v1", ...lines.map(([name, value]) => `${name}: ${value}`), ""].join("\n");
}
