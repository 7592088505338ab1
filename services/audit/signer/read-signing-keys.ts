import { createPrivateKey, type KeyObject } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const keysMax = 8;

/**
 * Reads the private keys of a folder, each in a file `*.pem`, by name. Whoever rotates puts a second one in, and takes the first
 * out once everybody knows the second. Throws when there are none or too many, and names a file that is no Ed25519 key.
 */
export async function readSigningKeys(folder: string): Promise<readonly KeyObject[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".pem")).toSorted();
  if (names.length === 0 || names.length > keysMax) {
    throw new Error(`${folder} holds ${names.length} keys (*.pem); allowed: 1 to ${keysMax}`);
  }
  return Promise.all(names.map((name) => readKey(join(folder, name))));
}

async function readKey(path: string): Promise<KeyObject> {
  const pem = await readFile(path);
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch {
    // What it says of the file's content is not for a log.
  }
  throw new Error(`${path} holds no Ed25519 private key as PKCS#8`);
}
