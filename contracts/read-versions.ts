import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { buildImage, readImage } from "#libs/contracts/buf.ts";
import { readContracts } from "#libs/contracts/read-contracts.ts";
import type { Version } from "#libs/contracts/version-grid.ts";

import { contractsFolder, next, protoFolder, releasedFolder } from "./product.ts";

/** Versions that have an image, oldest first. Throws when there is none. */
export async function listReleases(): Promise<readonly string[]> {
  const versions = (await readdir(releasedFolder)).flatMap(
    (name) => /^(\d+\.\d+\.\d+)\.binpb$/.exec(name)?.[1] ?? [],
  );
  if (versions.length === 0) throw new Error(`${releasedFolder} holds no <version>.binpb to compare with`);
  return versions.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

/** The schema and the contracts of a release. */
export async function readRelease(version: string): Promise<Version> {
  const folder = join(releasedFolder, version);
  const schemaFile = join(contractsFolder, "contract.schema.json");
  return {
    version,
    schema: await readImage(join(releasedFolder, `${version}.binpb`)),
    contracts: await readContracts(folder, schemaFile),
  };
}

/** What is released last, and what is in the working tree, whose schemas are built anew. */
export async function readVersions(): Promise<readonly Version[]> {
  const newest = (await listReleases()).at(-1)!; // There is one.
  const scratch = await mkdtemp(join(tmpdir(), "versions-"));
  try {
    const image = join(scratch, "next.binpb");
    await buildImage(protoFolder, image);
    const present = {
      version: next,
      schema: await readImage(image),
      contracts: await readContracts(contractsFolder),
    };
    return [await readRelease(newest), present];
  } finally {
    await rm(scratch, { recursive: true });
  }
}
