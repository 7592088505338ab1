import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, test } from "vitest";

import { startCaseService } from "./support/case-service.ts";
import { processEnv } from "./support/process-env.ts";

const run = promisify(execFile);

test("the README's snippets, one after the other, run against a case service", async () => {
  const readme = await readFile(new URL("../libs/client/README.md", import.meta.url), "utf8");
  const snippets = Array.from(readme.matchAll(/^```ts\n(.*?)^```$/gms), ([, code]) => code ?? "");
  expect(snippets.length).toBeGreaterThan(5);
  const given = "const { CASE_URL: caseUrl = '', TOKEN: token = '' } = process.env;\n";
  const program = `${given}${snippets.join("\n")}\nconsole.log("done");\n`;
  // Below the package's root, where `#libs` means something.
  const path = fileURLToPath(new URL(`../libs/client/readme-${process.pid}.tmp.ts`, import.meta.url));
  await using cases = await startCaseService({ config: { relay: "off" } });
  await writeFile(path, program);
  try {
    const env = { ...processEnv, CASE_URL: cases.url, TOKEN: await cases.token("caseworker") };
    expect((await run(process.execPath, [path], { env })).stdout).toBe("done\n");
  } finally {
    await rm(path);
  }
});
