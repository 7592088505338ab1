/**
 * `npm run contracts`: runs the contracts' tests, which print the tables of verification and of versions. With `--update` the
 * contracts of our consumers are written anew from their tests first. Further arguments go to vitest.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const args = process.argv.slice(2);
const rest = args.filter((arg) => arg !== "--update");
const update = rest.length < args.length;

if (update)
  await runTests({ CONTRACTS_UPDATE: "yes" }, ["contracts/", "--exclude=contracts/*.test.ts", ...rest]);
await runTests({}, ["contracts/", ...rest]);

/** Ends this process when a test fails. */
async function runTests(env: Record<string, string>, more: readonly string[]): Promise<void> {
  const child = spawn("vitest", ["run", "--config", "test/vitest.config.ts", "--root", root, ...more], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  const [code] = await once(child, "close");
  if (code !== 0) process.exit(1);
}
