import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, test } from "vitest";

const run = promisify(execFile);

test("the README's snippets, one after the other, run, and say what is so", async () => {
  const readme = await readFile(new URL("README.md", import.meta.url), "utf8");
  const snippets = Array.from(readme.matchAll(/^```ts\n(.*?)^```$/gms), ([, code]) => code ?? "");
  expect(snippets.length).toBeGreaterThan(6);
  const told = "{ completed, partial, included, extended, same: entries[0].equals(firstEntry) }";
  const program = `${snippets.join("\n")}\nconsole.log(JSON.stringify(${told}));\n`;
  // Below the package's root, where `#libs` means something.
  const path = fileURLToPath(new URL(`readme-${process.pid}.tmp.ts`, import.meta.url));
  await writeFile(path, program);
  try {
    const { completed, ...rest } = JSON.parse((await run(process.execPath, [path])).stdout);
    expect(rest).toEqual({
      partial: ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"],
      included: true,
      extended: true,
      same: true,
    });
    expect([completed[0], completed.at(-2), completed.at(-1), completed.length]).toEqual([
      "tile/0/001",
      "tile/0/272",
      "tile/1/000",
      273,
    ]);
  } finally {
    await rm(path);
  }
});
