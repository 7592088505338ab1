import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const page = await readFile(join(root, "docs/timeouts.md"), "utf8");
/** Rows that name a constant: the wait, the last figure of the limit, file and name. */
const rows = [...page.matchAll(/^\| ([^|]+) \| [^|]*?(\d+)(?: \([A-Z_`]+\))? \| `([^`]+)` `(\w+)` \|/gm)].map(
  ([, wait = "", figure = "", file = "", name = ""]) => ({ wait, limitMs: Number(figure), file, name }),
);

test("the page of timeouts names a constant in nearly every row", () => {
  const all = page.split("\n").filter((line) => /^\| (?!wait)\S/.test(line));
  expect(rows.length).toBeGreaterThan(30);
  // A turn, and PostgreSQL's own timeout, are what is left of the time.
  expect(all.length - rows.length).toBe(2);
});

test.each(rows)("$wait: the page and the code agree on $limitMs ms", async ({ limitMs, file, name }) => {
  const code = await readFile(join(root, file), "utf8");
  const found = new RegExp(String.raw`\b${name}(?::| =)(?: wholeNumber\([^)]*fallback:)? ([\d_]+)\b`).exec(
    code,
  );
  expect(Number(found?.[1]?.replaceAll("_", "")), `${name} in ${file}`).toBe(limitMs);
});
