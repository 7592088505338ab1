import { readFile } from "node:fs/promises";

/** Which build runs. */
export interface Release {
  readonly version: string;
  /** The commit it was built from; `unknown` outside of a repository and of a built image. */
  readonly commit: string;
}

const root = new URL("../../", import.meta.url);

/** Reads version and commit from the files around the code; `CASEFLOW_COMMIT`, set when an image is built, goes first. */
export async function readRelease(env: Readonly<Record<string, string | undefined>>): Promise<Release> {
  const manifest: { version: string } = JSON.parse(await readFile(new URL("package.json", root), "utf8"));
  return {
    version: manifest.version,
    commit: env["CASEFLOW_COMMIT"] ?? (await readCommit()) ?? "unknown",
  };
}

async function readCommit(): Promise<string | undefined> {
  const head = await readText(".git/HEAD");
  if (head === undefined || !head.startsWith("ref: ")) return head;
  const ref = head.slice("ref: ".length);
  return (await readText(`.git/${ref}`)) ?? (await readPackedRef(ref));
}

async function readPackedRef(ref: string): Promise<string | undefined> {
  const lines = (await readText(".git/packed-refs"))?.split("\n") ?? [];
  return lines.find((line) => line.endsWith(` ${ref}`))?.split(" ")[0];
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return (await readFile(new URL(path, root), "utf8")).trim();
  } catch {
    return undefined; // Not a repository, or a ref that is packed.
  }
}
