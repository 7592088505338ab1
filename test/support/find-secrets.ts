import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { canaries } from "./canaries.ts";

/** Shorter ones may be anybody's words. */
const pieceCharsMin = 10;

/** By what is found: how it looks. A password that is hidden already is none. */
const kinds: Readonly<Record<string, string>> = {
  token: String.raw`\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.`,
  "bearer token": String.raw`\bBearer (?!\[redacted\])[\w.~+/=-]{8,}`,
  password: String.raw`:\/\/[^/\s"@:]*:(?!\[redacted\]@)[^/\s"@]+@`,
  "private key": String.raw`-----BEGIN [A-Z ]*PRIVATE KEY|\bPRIVATE\+KEY\+`,
  "case content": Object.values(canaries).flatMap(pieces).map(escape).join("|"),
};
const names = Object.keys(kinds);
const anything = new RegExp(
  Object.values(kinds)
    .map((pattern) => `(${pattern})`)
    .join("|"),
  "g",
);
const faultsMax = 20;

/** Searches every file of a folder. A line a find, `file:line: what`, without what was found. */
export async function findSecrets(folder: string): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const name of (await readdir(folder)).toSorted()) {
    const text = await readFile(join(folder, name), "utf8");
    for (const { index, ...groups } of text.matchAll(anything)) {
      const kind = names.find((_, at) => groups[at + 1] !== undefined);
      const line = text.slice(0, index).split("\n").length;
      faults.push(`${join(folder, name)}:${line}: ${kind}`);
      if (faults.length === faultsMax) return [...faults, "and more"];
    }
  }
  return faults;
}

/** What stands between quotes is looked for by itself: a line escapes them, and who hides some quoted text may let out the rest. */
function pieces(words: string): string[] {
  const found = words.split(/["']/).map((piece) => piece.trim());
  return found.length === 1 ? found : found.filter(({ length }) => length >= pieceCharsMin);
}

function escape(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
