import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import type { Contract } from "./contract.ts";
import { findSchemaFaults } from "./json-schema.ts";

/** Names as the schema has them. */
const name = /^[a-z][a-z0-9-]{0,62}$/;

/**
 * Reads every `<consumer>/<provider>.json` of a folder but those in `released`, by consumer and provider in order of name, and holds each to
 * `contract.schema.json`. Throws with all that is wrong of all files.
 */
export async function readContracts(
  folder: string,
  schemaFile = join(folder, "contract.schema.json"),
): Promise<readonly Contract[]> {
  const schema = JSON.parse(await readFile(schemaFile, "utf8"));
  const contracts: Contract[] = [];
  const faults: string[] = [];
  for (const consumer of await readdir(folder, { withFileTypes: true }).then(sorted)) {
    if (!consumer.isDirectory() || consumer.name === "released") continue;
    for (const file of await readdir(join(folder, consumer.name), { withFileTypes: true }).then(sorted)) {
      const provider = file.name.replace(/\.json$/, "");
      if (!file.name.endsWith(".json")) continue;
      const path = `${consumer.name}/${file.name}`;
      if (!name.test(provider)) {
        faults.push(`${path}: a contract is named after its provider, such as case.json`);
        continue;
      }
      const contract: Contract = JSON.parse(await readFile(join(folder, path), "utf8"));
      const wrong = findSchemaFaults(schema, contract);
      faults.push(...wrong.map((fault) => `${path}: ${fault}`));
      if (wrong.length > 0) continue;
      if (contract.consumer !== consumer.name || contract.provider !== provider) {
        faults.push(`${path}: says that it is ${contract.consumer}'s with ${contract.provider}`);
      }
      faults.push(...findRepeated(contract).map((repeated) => `${path}: has "${repeated}" twice`));
      contracts.push(contract);
    }
  }
  if (faults.length > 0) throw new Error(faults.join("\n"));
  return contracts;
}

function findRepeated({ interactions, events }: Contract): readonly string[] {
  const names = [...interactions, ...events].map((expectation) => expectation.name);
  return names.filter((one, index) => names.indexOf(one) !== index);
}

function sorted<T extends { readonly name: string }>(entries: readonly T[]): readonly T[] {
  return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
