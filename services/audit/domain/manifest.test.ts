import { expect, test } from "vitest";
import { formatManifest } from "./manifest.ts";

const facts = {
  ...{ tenantId: "acme", format: "csv", filter: '{"subject":"a: b"}', eventCount: 2 },
  ...{ firstLeafIndex: 3n, lastLeafIndex: 977n, sha256: `${"A".repeat(43)}=` },
  checkpoint: { origin: "example.org/log/acme", treeSize: 1_000, rootHash: `${"B".repeat(43)}=` },
};

test("a manifest says what an export holds, a line each", () => {
  expect(formatManifest(facts)).toBe(`caseflow export v1
origin: example.org/log/acme
tenant: acme
format: csv
filter: {"subject":"a: b"}
first-leaf-index: 3
last-leaf-index: 977
event-count: 2
sha256: ${"A".repeat(43)}=
tree-size: 1000
root-hash: ${"B".repeat(43)}=
`);
});

test("a manifest of no events says so", () => {
  const none = { ...facts, eventCount: 0, firstLeafIndex: undefined, lastLeafIndex: undefined };
  expect(formatManifest(none)).toContain("first-leaf-index: none\nlast-leaf-index: none\nevent-count: 0\n");
});
