import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, test } from "vitest";
import { readImage } from "#libs/contracts/buf.ts";
import type { Version } from "#libs/contracts/version-grid.ts";
import { commandInProcess } from "#test/support/command-in-process.ts";

import { judgeDeployment, UnknownDeployment, type VerifiedRow } from "./can-deploy.ts";
import { root } from "./product.ts";
import { readVersions } from "./read-versions.ts";
import { plantSchema } from "./support/plant-schema.ts";

const [released, next] = (await readVersions()) as [Version, Version];
const allKept = async (): Promise<readonly string[]> => [];
const commandTimeoutMs = 280_000;

test("a schema that takes away what a released consumer reads cannot be deployed, and the field is named", async () => {
  await using planted = await plantSchema([
    "cases/v1/case.proto",
    "google.protobuf.Timestamp decided_at = 23;",
    "reserved 23;",
  ]);
  const changed = { ...next, schema: await readImage(planted.image) };
  const { can, reasons } = await judgeDeployment("case", "next", [released, changed], allKept);
  const fault = "caseflow.cases.v1.Case.decided_at is missing";
  expect({ can, reasons }).toEqual({
    can: false,
    reasons: ["0.1.0", "next"].map((version) => `intake-portal@${version} with case@next: ${fault}`),
  });
});

test("a consumer has no version from before its first contract", async () => {
  const before = { ...released, contracts: [] };
  const asked = judgeDeployment("intake-portal", "0.1.0", [before, next], allKept);
  await expect(asked).rejects.toThrow(UnknownDeployment);
});

test("a consumer that expects what its released provider was never verified to do has to wait for it", async () => {
  const [relay] = next.contracts.filter(({ consumer }) => consumer === "relay");
  const [first] = relay!.interactions;
  const wanting = { ...relay!, interactions: [...relay!.interactions, { ...first!, name: "something new" }] };
  const changed = { ...next, contracts: [...next.contracts.filter((one) => one !== relay), wanting] };
  expect(await judgeDeployment("case", "next", [released, changed], allKept)).toEqual({
    can: false,
    reasons: ['relay@next with audit@0.1.0: "something new" was never verified with audit@0.1.0'],
  });
  expect(await judgeDeployment("audit", "next", [released, changed], allKept)).toMatchObject({ can: true });
});

test("a provider that does not keep a contract when it is run cannot be deployed; one that it does not concern can", async () => {
  const broken: VerifiedRow = {
    consumer: "relay@0.1.0",
    provider: "audit",
    way: "grpc-js",
    expectation: "an event",
    faults: ["code: expected OK, got INTERNAL"],
  };
  const verify = async (concerns: (row: VerifiedRow) => boolean) => (concerns(broken) ? broken.faults : []);
  const judge = (service: string) => judgeDeployment(service, "next", [released, next], verify);
  expect(await judge("audit")).toEqual({ can: false, reasons: broken.faults });
  expect(await judge("case")).toMatchObject({ can: false }); // The relay is a part of it.
  expect(await judge("cli")).toMatchObject({ can: true });
});

test.each([
  ["nobody", "next"],
  ["relay", "next"],
  ["case", "9.9.9"],
])("%s@%s is not known", async (service, version) => {
  const judged = judgeDeployment(service, version, [released, next], allKept);
  await expect(judged).rejects.toThrow(UnknownDeployment);
});

describe("the command", () => {
  test.each(["case@latest", "nobody@next"])("ends with 2 for %s", async (target) =>
    expect(await commandInProcess(["can-deploy", target])).toMatchObject({ exit: 2 }),
  );

  test(
    "says yes to the working tree and ends with 0 once it has run it",
    async () => {
      const { code, stdout } = await runCommand(root, "audit@next");
      expect(stdout).toMatch(/^yes\n {2}.*\brelay@0\.1\.0 with audit@next: fits, and is verified$/ms);
      expect(code).toBe(0);
    },
    commandTimeoutMs,
  );

  test(
    "says no and ends with 1 in a tree whose schema breaks a contract",
    async () => {
      await using tree = await copyTree();
      const path = join(tree.folder, "proto/caseflow/event/v1/event.proto");
      const text = await readFile(path, "utf8");
      await writeFile(path, text.replace("uint64 subject_sequence = 7;", "uint32 subject_sequence = 7;"));
      const { code, stdout } = await runCommand(tree.folder, "case@next", "--json");
      const fault = "caseflow.event.v1.Event.subject_sequence its type is uint32 instead of uint64";
      expect(JSON.parse(stdout)).toEqual({
        can: false,
        reasons: ["0.1.0", "next"].map((version) => `audit@${version} with case@next: ${fault}`),
      });
      expect(code).toBe(1);
    },
    commandTimeoutMs,
  );
});

async function copyTree() {
  const folder = await mkdtemp(join(tmpdir(), "can-deploy-tree-"));
  for (const name of ["package.json", "proto", "libs", "services", "contracts"]) {
    await cp(join(root, name), join(folder, name), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

function runCommand(tree: string, ...args: readonly string[]): Promise<{ code: number; stdout: string }> {
  const command = [join(tree, "services/cli/main.ts"), "can-deploy", ...args];
  return new Promise((done) => {
    const child = execFile(process.execPath, command, { timeout: commandTimeoutMs }, (_error, stdout) =>
      done({ code: child.exitCode ?? -1, stdout }),
    );
  });
}
