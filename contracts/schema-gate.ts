import { join } from "node:path";

import { findBreaks, readImage } from "#libs/contracts/buf.ts";
import { type JudgedBreak, judgeBreaks } from "#libs/contracts/find-hurt.ts";
import { readContracts } from "#libs/contracts/read-contracts.ts";

import { contractsFolder, reasonEnums, releasedFolder } from "./product.ts";
import { listReleases } from "./read-versions.ts";

/** Schemas of others, as images name them: we do not guard them. */
const vendored = ["buf", "google", "grpc"];

export interface GateBreak extends JudgedBreak {
  /** The release that it breaks with. */
  readonly version: string;
}

/**
 * Compares an image with every released one, by buf's FILE and WIRE_JSON rules, and tells of each break whom it would hurt.
 * Whether it hurts or not, a break is one: consumers without a contract may exist.
 */
export async function findSchemaBreaks(present: string): Promise<readonly GateBreak[]> {
  const contracts = await readContracts(contractsFolder);
  const found: GateBreak[] = [];
  for (const version of await listReleases()) {
    const image = join(releasedFolder, `${version}.binpb`);
    const breaks = await findBreaks(present, image, { use: ["FILE", "WIRE_JSON"], ignore: vendored });
    const judged = judgeBreaks(breaks, contracts, await readImage(image), reasonEnums);
    found.push(...judged.map((one) => ({ version, ...one })));
  }
  return found;
}

/** For people, a few lines a break. */
export function tellBreaks(breaks: readonly GateBreak[]): string {
  return breaks
    .flatMap(({ version, file, rule, message, hurts }) => [
      `${file}: breaks with ${version}: ${rule}: ${message}`,
      ...hurts.map(({ consumer, elements }) => `    hurts ${consumer}: ${elements.join(", ")}`),
      ...(hurts.length === 0 ? ["    hurts nobody who has a contract"] : []),
    ])
    .join("\n");
}
