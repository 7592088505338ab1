import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { canaries } from "./canaries.ts";
import { findSecrets } from "./find-secrets.ts";
import { createIssuer } from "./tokens.ts";

async function found(text: string): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), "caseflow-found-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "some.test.ts"), text);
  return (await findSecrets(folder)).map((fault) => fault.slice(folder.length + 1));
}

test("a token is found, and told by file and line without being repeated", async () => {
  await using issuer = await createIssuer();
  const token = await issuer.token({ sub: "x", roles: ["operator"] });
  expect(await found(`{"a":1}\n{"msg":"got ${token}"}\n`)).toEqual(["some.test.ts:2: token"]);
});

test.each([
  ["password", "postgresql://me:hunter2@host/db"],
  ["bearer token", "authorization: Bearer hunter2hunter2"],
  ["private key", "-----BEGIN PRIVATE KEY-----"],
  ["private key", "PRIVATE+KEY+example.org+1a2b3c4d+AQ"],
  ...Object.values(canaries).map((words) => ["case content", words]),
])("a %s is found in %j", async (kind, text) => {
  const faults = await found(`{"a":1}\n{"msg":${JSON.stringify(text)}}\n`);
  expect(new Set(faults)).toEqual(new Set([`some.test.ts:2: ${kind}`]));
});

test("what stands between the quotes of a case's words is found by itself", async () => {
  expect(await found("no mooring rights of old here\n")).toEqual(["some.test.ts:1: case content"]);
});

test.each([
  "postgresql://me:[redacted]@host/db",
  "postgresql://me@%2Frun%2Fpg:5432/db",
  "http://127.0.0.1:7080 a@b",
  "Bearer [redacted]",
  "a case was closed",
])("nothing is found in %j", async (text) => {
  expect(await found(`${JSON.stringify({ text })}\n`)).toEqual([]);
});

test("many finds are told as many", async () => {
  expect(await found(`${canaries.title}\n`.repeat(1_000))).toHaveLength(21);
});
