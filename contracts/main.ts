/**
 * `npm run contracts`: runs the contracts' tests, which print the tables of verification and of versions. With `--update` our
 * consumers' contracts are written anew from their tests first. With `--release VERSION`, instead, schemas and contracts are
 * kept below `released/`, as what is out there from now on. Further arguments go to vitest.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";

import { buildImage } from "#libs/contracts/buf.ts";
import { readContracts } from "#libs/contracts/read-contracts.ts";

import { contractsFolder, protoFolder, releasedFolder, root } from "./product.ts";

const args = process.argv.slice(2);
if (args[0] === "--release") {
  await release(args[1] ?? "");
} else {
  const rest = args.filter((arg) => arg !== "--update");
  const update = rest.length < args.length;
  if (update)
    await runTests({ CONTRACTS_UPDATE: "yes" }, ["contracts/", "--exclude=contracts/*.test.ts", ...rest]);
  await runTests({}, ["contracts/", ...rest]);
}

/** Ends this process when a test fails. */
async function runTests(env: Record<string, string>, more: readonly string[]): Promise<void> {
  const child = spawn("vitest", ["run", "--config", "test/vitest.config.ts", "--root", root, ...more], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  const [code] = await once(child, "close");
  if (code !== 0) process.exit(1);
}

/** What is released is never written again. */
async function release(version: string): Promise<void> {
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error("--release wants a version, such as 0.2.0");
  const folder = join(releasedFolder, version);
  const image = join(releasedFolder, `${version}.binpb`);
  if (existsSync(image)) throw new Error(`${version} is released already`);
  // What is in a release counts as verified with it.
  await runTests({}, ["contracts/"]);
  const contracts = await readContracts(contractsFolder);
  for (const { consumer, provider } of contracts) {
    await mkdir(join(folder, consumer), { recursive: true });
    await cp(join(contractsFolder, consumer, `${provider}.json`), join(folder, consumer, `${provider}.json`));
  }
  // Last: with its image a version is released.
  await buildImage(protoFolder, image);
}
