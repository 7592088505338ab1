import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { buildImage } from "#libs/contracts/buf.ts";

import { protoFolder } from "../product.ts";

export interface PlantedSchema extends AsyncDisposable {
  /** What buf has built of it. */
  readonly image: string;
}

/** One text in one file below `proto/caseflow` in the place of another, which has to be there once. */
export type Edit = readonly [file: string, from: string, to: string];

/** An image of the schemas with some edits, in a folder of its own. */
export async function plantSchema(...edits: readonly Edit[]): Promise<PlantedSchema> {
  const folder = await mkdtemp(join(tmpdir(), "planted-schema-"));
  await cp(protoFolder, folder, { recursive: true });
  for (const [file, from, to] of edits) {
    const path = join(folder, "caseflow", file);
    const text = await readFile(path, "utf8");
    if (text.split(from).length !== 2) throw new Error(`${file} does not hold this once: ${from}`);
    await writeFile(
      path,
      text.replace(from, () => to),
    );
  }
  const image = join(folder, "planted.binpb");
  await buildImage(folder, image);
  return { image, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}
