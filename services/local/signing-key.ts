import { generateKeyPairSync } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { replaceFile } from "#libs/files/replace-file.ts";

import { makeFolder } from "./make-folder.ts";

/** Makes a folder with a key that signs checkpoints, an Ed25519 one as PKCS#8, mode 0600, unless it holds one; returns the folder. */
export async function makeSigningKey(folder: string): Promise<string> {
  await makeFolder(folder);
  const names = await readdir(folder);
  if (!names.some((name) => name.endsWith(".pem"))) {
    const { privateKey } = generateKeyPairSync("ed25519");
    await replaceFile(
      join(folder, "1.pem"),
      String(privateKey.export({ type: "pkcs8", format: "pem" })),
      0o600,
    );
  }
  return folder;
}
