import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { expect, test } from "vitest";

import { readContracts } from "./read-contracts.ts";

const contracts = resolve(import.meta.dirname, "../../contracts");
const example = JSON.parse(await readFile(join(contracts, "harbour-register/case.json"), "utf8"));

/** A folder with one contract. */
async function plant(contract: object, path = "harbour-register/case.json") {
  const folder = await mkdtemp(join(tmpdir(), "contracts-"));
  await cp(join(contracts, "contract.schema.json"), join(folder, "contract.schema.json"));
  await mkdir(join(folder, path, ".."), { recursive: true });
  await writeFile(join(folder, path), JSON.stringify(contract));
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

const [first, ...others] = example.interactions;
const withFirst = (change: object) => ({ ...example, interactions: [{ ...first, ...change }, ...others] });

test("a contract that keeps to the schema is read", async () => {
  await using planted = await plant(example);
  expect(await readContracts(planted.folder)).toEqual([example]);
});

test.each<[string, object, string]>([
  ["lacks its view", { ...example, view: undefined }, "harbour-register/case.json: it lacks view"],
  ["is of another format", { ...example, formatVersion: 2 }, "formatVersion is not 1"],
  ["has an unknown part", { ...example, notes: "" }, "it has notes, which it may not"],
  ["is somebody else's", { ...example, consumer: "other" }, "says that it is other's with case"],
  ["has a name twice", { ...example, interactions: [first, first] }, `has "${first.name}" twice`],
  ["names no state", withFirst({ state: {} }), "interactions[0].state lacks name"],
  [
    "has an unknown matcher",
    withFirst({ call: { ...first.call, request: { caseId: { $match: "sometimes" } } } }),
    "interactions[0].call.request.caseId fits nothing",
  ],
  [
    "has a matcher that lacks a part",
    withFirst({ call: { ...first.call, request: { caseId: { $match: "pattern", example: "a" } } } }),
    "interactions[0].call.request.caseId fits nothing",
  ],
  [
    "has an unknown code",
    withFirst({ answer: { code: "BROKEN" } }),
    "interactions[0].answer.code is none of",
  ],
  [
    "has a method without a service",
    withFirst({ call: { ...first.call, method: "GetCase" } }),
    "does not fit",
  ],
  [
    "has a deadline of nothing",
    withFirst({ call: { ...first.call, deadlineMs: 0 } }),
    "deadlineMs is too small",
  ],
  [
    "both refuses and answers",
    withFirst({ answer: { code: "NOT_FOUND", message: {} } }),
    "answer fits nothing",
  ],
])("a contract that %s is refused with its place", async (_, contract, told) => {
  await using planted = await plant(contract);
  await expect(readContracts(planted.folder)).rejects.toThrow(told);
});
