import { rm } from "node:fs/promises";
import { join } from "node:path";

import { type Stack, stackFileName } from "#libs/client/stack.ts";
import { replaceFile } from "#libs/files/replace-file.ts";

/** Tells of the running stack in `stack.json`, readable by its owner alone, until disposed. */
export async function writeStackFile(home: string, stack: Stack): Promise<AsyncDisposable> {
  await replaceFile(join(home, stackFileName), `${JSON.stringify(stack, null, 2)}\n`, 0o600);
  return { [Symbol.asyncDispose]: () => removeStackFile(home) };
}

/** Removes the file, also one that a killed stack left behind. */
export async function removeStackFile(home: string): Promise<void> {
  await rm(join(home, stackFileName), { force: true });
}
