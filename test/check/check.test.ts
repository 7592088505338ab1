import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
/** The check itself, with what it imports, and little more: what it takes grows with what it looks at. */
const copied = [
  "contracts",
  "libs/contracts",
  "libs/gen",
  "proto",
  "test/check",
  "package.json",
  "tsconfig.json",
  ".oxlintrc.json",
  ".oxfmtrc.json",
];

test("each step of the check notices its own kind of fault, and the end says how to mend it", async () => {
  await using copy = await copyTree();
  await copy.write("libs/contracts/planted-type.ts", `export const planted: number = "text";\n`);
  await copy.write("libs/contracts/planted-lint.ts", `debugger;\n`);
  await copy.write("libs/contracts/planted-format.ts", `export   const planted = 1\n`);
  await copy.write("services/case/domain/planted.ts", `export * from "node:fs";\n`);
  const schema = "proto/caseflow/cases/v1/case.proto";
  const text = await readFile(join(copy.path, schema), "utf8");
  await copy.write(schema, text.replace("  string contact = 3", "      string Kontact = 3"));

  const { exitCode, output } = await copy.check();

  const verdicts = output.match(/^[✓✗] .*?(?= {2})/gm);
  expect(verdicts).toEqual([
    "✗ types",
    "✗ lint",
    "✗ format",
    "✗ import rules",
    "✗ schema lint",
    "✗ schema format",
    "✗ schema breaking",
    "✗ generated code",
  ]);
  for (const told of ["planted-type.ts", "planted-lint.ts", "planted-format.ts", "planted.ts:1: node:fs"]) {
    expect(output).toContain(told);
  }
  expect(output).toMatch(/8 of 8 failed(.|\n)*npm run format(.|\n)*npm run generate/);
  expect(exitCode).toBe(1);
}, 180_000);

async function copyTree() {
  const path = await mkdtemp(join(tmpdir(), "check-"));
  for (const name of copied) await cp(join(root, name), join(path, name), { recursive: true });
  await symlink(join(root, "node_modules"), join(path, "node_modules"));
  return {
    path,
    async write(name: string, text: string) {
      await mkdir(dirname(join(path, name)), { recursive: true });
      await writeFile(join(path, name), text);
    },
    check: () =>
      new Promise<{ exitCode: number | string | null | undefined; output: string }>((done) => {
        // Not by npm: its set-up step could take the linked node_modules for stale, and replace it.
        const args = ["test/check/check.ts"];
        execFile(process.execPath, args, { cwd: path, timeout: 150_000 }, (error, stdout, stderr) => {
          done({ exitCode: error ? error.code : 0, output: stdout + stderr });
        });
      }),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}
