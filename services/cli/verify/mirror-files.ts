import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";

import { unreadable } from "./fault.ts";

/**
 * Reads a file of a mirror by its path below the mirror's folder or URL; `undefined` when it is not there. Throws `Unverified` when
 * it cannot be read, or has more than `bytesMax` bytes.
 */
export type ReadMirrorFile = (path: string, bytesMax: number) => Promise<Uint8Array | undefined>;

/** Files in a folder. Only plain files are read: a link or a device could lead anywhere, and never end. */
export function readFolder(folder: string): ReadMirrorFile {
  return async (path, bytesMax) => {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(join(folder, path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(
      (cause: unknown) => {
        if (hasCode(cause, "ENOENT") || hasCode(cause, "ENOTDIR")) return undefined;
        throw unreadable(`${path} cannot be read: ${messageOf(cause)}.`, { cause });
      },
    );
    if (!file) return undefined;
    await using opened = file;
    const { size } = await statPlain(opened, path);
    if (size > bytesMax) throw tooLarge(path, bytesMax);
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await opened.read(bytes, 0, size, 0);
    if (bytesRead !== size) throw unreadable(`${path} became shorter while it was read.`);
    return bytes;
  };
}

async function statPlain(file: Awaited<ReturnType<typeof open>>, path: string): Promise<{ size: number }> {
  const stat = await file.stat();
  if (!stat.isFile()) throw unreadable(`${path} is no plain file.`);
  return stat;
}

const requestTimeoutMs = 30_000;
const attemptsMax = 4;
const firstWaitMs = 250;

/** Files below a URL, as any static server serves them. What may be an outage is asked for again. */
export function readUrl(base: URL): ReadMirrorFile {
  return async (path, bytesMax) => {
    const url = new URL(`${base.pathname.replace(/\/$/, "")}/${path}`, base);
    for (let attempt = 1; ; attempt += 1) {
      const answer = await request(url, bytesMax, path).catch((cause: unknown) => {
        if (!(cause instanceof Outage)) throw cause;
        return cause;
      });
      if (!(answer instanceof Outage)) return answer;
      if (attempt === attemptsMax) throw unreadable(`${url.href} cannot be read: ${answer.message}.`);
      await wait(firstWaitMs * 2 ** (attempt - 1));
    }
  };
}

/** Something that may go by. */
class Outage extends Error {
  override readonly name = "Outage";
}

async function request(url: URL, bytesMax: number, path: string): Promise<Uint8Array | undefined> {
  const signal = AbortSignal.timeout(requestTimeoutMs);
  const response = await fetch(url, { signal }).catch(asOutage);
  if ([403, 404, 410].includes(response.status)) {
    await response.body?.cancel();
    return undefined; // Storage services say 403 of what they do not have.
  }
  if (!response.ok) {
    await response.body?.cancel();
    if (response.status >= 500 || response.status === 429) throw new Outage(`status ${response.status}`);
    throw unreadable(`${url.href} cannot be read: status ${response.status}.`);
  }
  const pieces: Uint8Array[] = [];
  let size = 0;
  const body = response.body?.getReader();
  for (;;) {
    const { done, value } = body ? await body.read().catch(asOutage) : { done: true, value: undefined };
    if (done) return Buffer.concat(pieces);
    pieces.push(value);
    size += value.length;
    if (size <= bytesMax) continue;
    await body?.cancel();
    throw tooLarge(path, bytesMax);
  }
}

function asOutage(cause: unknown): never {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  throw new Outage(messageOf(inner), { cause });
}

function tooLarge(path: string, bytesMax: number): Error {
  return unreadable(`${path} has more than ${bytesMax} bytes.`);
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function hasCode(cause: unknown, code: string): boolean {
  return cause instanceof Error && "code" in cause && cause.code === code;
}
