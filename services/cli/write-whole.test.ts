import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { writeWhole } from "./write-whole.ts";

async function openFolder() {
  const folder = await mkdtemp(join(tmpdir(), "caseflow-whole-"));
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

test("a file that is filled to its end is there, for its owner alone", async () => {
  await using scratch = await openFolder();
  const path = join(scratch.folder, "file");
  expect(await writeWhole(path, async (file) => file.write("whole"))).toBe(true);
  expect(await readFile(path, "utf8")).toBe("whole");
});

test("of a file that is given up while it is written nothing is left, and nothing else goes wrong", async () => {
  await using scratch = await openFolder();
  const uncaught: unknown[] = [];
  const keep = (error: unknown) => void uncaught.push(error);
  process.on("uncaughtExceptionMonitor", keep);
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const given = writeWhole(join(scratch.folder, "file"), async (file) => {
      file.write(Buffer.alloc(1 << 16));
      file.write(Buffer.alloc(1 << 16)); // Waits for the first.
      throw new Error("the service is gone");
    });
    await expect(given).rejects.toThrow("the service is gone");
    expect(await readdir(scratch.folder)).toEqual([]);
  }
  process.off("uncaughtExceptionMonitor", keep);
  expect(uncaught).toEqual([]);
});
