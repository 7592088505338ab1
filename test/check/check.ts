/**
 * `npm run check`: everything that can be judged without running the product. Every step runs, whatever the ones before
 * it found; the end names what failed and how to mend it. Exit 0 when all is well, else 1.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { findSchemaBreaks, tellBreaks } from "#contracts/schema-gate.ts";
import { buildImage } from "#libs/contracts/buf.ts";

import { findForbiddenImports } from "./import-rules.ts";

interface Step {
  readonly name: string;
  /** What to do when it fails. */
  readonly mend: string;
  /** What is wrong; empty when nothing is. `scratch` is a folder of its own, removed afterwards. */
  readonly run: (scratch: string) => Promise<string>;
}

const root = resolve(import.meta.dirname, "../..");
const stepTimeoutMs = 300_000;

const steps: readonly Step[] = [
  { name: "types", mend: "correct what tsc names", run: () => tool("tsc", "--noEmit", "-p", ".") },
  {
    name: "lint",
    mend: "correct what oxlint names",
    run: () => tool("oxlint", "--type-aware", "--quiet", "libs", "services", "contracts", "test"),
  },
  { name: "format", mend: "npm run format", run: () => tool("oxfmt", "--check", ".") },
  {
    name: "import rules",
    mend: "move the code, or see the rules in test/check/import-rules.ts",
    run: async () => (await findForbiddenImports(root)).join("\n"),
  },
  { name: "schema lint", mend: "correct what buf names", run: () => tool("buf", "lint", "proto") },
  {
    name: "schema format",
    mend: "npm run format",
    run: () => tool("buf", "format", "proto", "--diff", "--exit-code", "--path", "proto/caseflow"),
  },
  {
    name: "schema breaking",
    mend: "keep what is released: add fields and methods, reserve what goes",
    run: findBreakingChanges,
  },
  { name: "generated code", mend: "npm run generate", run: findStaleCode },
];

const failed: Step[] = [];
for (const step of steps) {
  const startedAt = performance.now();
  const scratch = await mkdtemp(join(tmpdir(), "caseflow-check-"));
  const fault = await step.run(scratch).catch((error: unknown) => String(error));
  await rm(scratch, { recursive: true });
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  console.log(`${fault ? "✗" : "✓"} ${step.name.padEnd(16)} ${seconds.padStart(5)} s`);
  if (!fault) continue;
  console.log(fault.replace(/^/gm, "    "));
  failed.push(step);
}
if (failed.length > 0) {
  console.log(`\n${failed.length} of ${steps.length} failed. To mend:`);
  for (const { name, mend } of failed) console.log(`  ${name.padEnd(16)} ${mend}`);
  process.exitCode = 1;
}

/** Against every image in `contracts/released`; tells of each break whose contract it would hurt. */
async function findBreakingChanges(scratch: string): Promise<string> {
  const present = join(scratch, "present.binpb");
  await buildImage(join(root, "proto"), present);
  return tellBreaks(await findSchemaBreaks(present));
}

async function findStaleCode(scratch: string): Promise<string> {
  const generated = await tool("buf", "generate", "--template", "proto/buf.gen.yaml", "-o", scratch);
  return generated || tool("git", "diff", "--no-index", "--stat", join(scratch, "libs/gen"), "libs/gen");
}

/** Runs a tool in the root; returns what it said if it failed, else nothing. */
function tool(command: string, ...args: string[]): Promise<string> {
  const options = { cwd: root, timeout: stepTimeoutMs, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((done) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      done(error ? `${stdout}${stderr}`.trim() || error.message : "");
    });
  });
}
