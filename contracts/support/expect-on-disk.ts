import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";

import { format } from "oxfmt";
import { expect } from "vitest";
import { replaceFile } from "#libs/files/replace-file.ts";
import type { ContractRecorder } from "#libs/contracts/record-contract.ts";

const root = resolve(import.meta.dirname, "../..");

/**
 * Fails when `contracts/<consumer>/<provider>.json` is missing or says something else than the tests of this file have
 * expected. `npm run contracts -- --update` writes it instead.
 */
export async function expectOnDisk(recorder: ContractRecorder): Promise<void> {
  const contract = recorder.toContract();
  const name = `contracts/${contract.consumer}/${contract.provider}.json`;
  const text = await formatJson(name, JSON.stringify(contract, null, 2));
  if (process.env["CONTRACTS_UPDATE"] === "yes") await replaceFile(join(root, name), text, 0o644);
  const onDisk = await readFile(join(root, name), "utf8").catch(() => undefined);
  expect(onDisk, `${name} is out of date: npm run contracts -- --update writes it`).toBe(text);
}

/** As `npm run format` would leave it. */
async function formatJson(name: string, text: string): Promise<string> {
  const { printWidth } = JSON.parse(await readFile(join(root, ".oxfmtrc.json"), "utf8"));
  const { code, errors } = await format(name, text, { printWidth });
  if (errors.length > 0) throw new Error(errors.map(({ message }) => message).join("\n"));
  return code;
}
