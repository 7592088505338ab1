import { expect, test } from "vitest";
import { fillGrid, type GridCell } from "#libs/contracts/version-grid.ts";

import { next, reasonEnums } from "./product.ts";
import { readVersions } from "./read-versions.ts";
import { toTable } from "./support/table.ts";

test("no consumer, released or next, is broken by the schemas of the working tree; the grid tells of all versions", async () => {
  const versions = await readVersions();
  const cells = fillGrid(versions, reasonEnums, next);
  const sorted = cells.toSorted((a, b) => (a.consumer < b.consumer ? -1 : a.consumer > b.consumer ? 1 : 0));
  const rows = Map.groupBy(sorted, ({ consumer, consumerVersion, provider }) =>
    [consumer, consumerVersion, provider].join("\0"),
  );
  const head = ["consumer", "version", "provider", ...versions.map(({ version }) => `@${version}`)];
  const body = Array.from(rows, ([row, ofRow]) => [...row.split("\0"), ...ofRow.map(tellCell)]);
  process.stdout.write(`${toTable([head, ...body])}\n`);
  const broken = cells.filter(({ providerVersion, faults }) => providerVersion === next && faults.length > 0);
  expect(broken).toEqual([]);
});

function tellCell({ faults, unverified }: GridCell): string {
  if (faults.length > 0) return faults.join("; ");
  return unverified.length > 0 ? `fits; ${unverified.length} never verified` : "ok";
}
