import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";

/** One state of the key set. Another object means that the keys have changed. */
export interface Keys {
  readonly find: JWTVerifyGetKey;
}

export interface KeySet {
  /** The keys to verify with; `undefined` while none could be loaded. */
  current(): Promise<Keys | undefined>;
  /** The keys after looking again, for one that was not among them; not more often than the source stands. */
  renewed(): Promise<Keys | undefined>;
}

export interface KeySetOptions {
  /** An http(s) URL, a file: URL or a path. */
  readonly location: string;
  readonly now: () => Date;
  /** Told when loading failed; the keys that are known go on. */
  readonly onFailure: (error: unknown) => void;
}

interface Source {
  readonly load: () => Promise<string>;
  /** How long keys are used before looking whether they have changed. */
  readonly freshMs: number;
  /** How long after an attempt the next one may come, when an unknown key or a failure asks for it. */
  readonly cooldownMs: number;
  /** From this age on callers wait for the look; until then they go on with the keys that are known. */
  readonly staleMs: number;
}

const fetchTimeoutMs = 5_000;
const retryWithoutKeysMs = 1_000;
const setBytesMax = 262_144;
const keysMax = 100;

/**
 * A JWK set that is kept while its source cannot be reached: known keys go on, an unknown one is told at once. Changes
 * are found within a second in a file, and at a URL within five minutes of calls, ten without; an added key earlier: when
 * it is first asked for.
 */
export function createKeySet({ location, now, onFailure }: KeySetOptions): KeySet {
  const source = /^https?:/.test(location) ? remote(location) : file(location);
  let loaded: { readonly text: string; readonly keys: Keys } | undefined;
  let attemptedAt = Number.NEGATIVE_INFINITY;
  let loadedAt = Number.NEGATIVE_INFINITY;
  let underway: Promise<void> | undefined;

  /** A clock that was set back tells nothing of how much time has passed: then it counts as enough. */
  function hasPassed(since: number, ms: number): boolean {
    const elapsedMs = now().getTime() - since;
    return elapsedMs >= ms || elapsedMs < 0;
  }

  async function load(): Promise<void> {
    attemptedAt = now().getTime();
    try {
      const text = await source.load();
      if (text !== loaded?.text) loaded = { text, keys: { find: createLocalJWKSet(readSet(text)) } };
      loadedAt = attemptedAt;
    } catch (error) {
      onFailure(error);
    }
  }

  async function loadUnlessWithin(pauseMs: number): Promise<void> {
    if (underway === undefined && !hasPassed(attemptedAt, pauseMs)) return;
    underway ??= load().finally(() => {
      underway = undefined;
    });
    await underway;
  }

  return {
    async current() {
      if (loaded === undefined) {
        await loadUnlessWithin(retryWithoutKeysMs);
      } else if (hasPassed(loadedAt, source.freshMs)) {
        // During an outage there are attempts, and nobody waits; after a time without calls there were none.
        const isStale = hasPassed(attemptedAt, source.staleMs);
        const look = loadUnlessWithin(source.cooldownMs);
        if (isStale) await look;
      }
      return loaded?.keys;
    },
    async renewed() {
      await loadUnlessWithin(source.cooldownMs);
      return loaded?.keys;
    },
  };
}

function file(location: string): Source {
  const path = location.startsWith("file:") ? fileURLToPath(location) : location;
  return { load: () => readFile(path, "utf8"), freshMs: 1_000, staleMs: 0, cooldownMs: 1_000 };
}

function remote(url: string): Source {
  return { load: () => download(url), freshMs: 300_000, staleMs: 600_000, cooldownMs: 30_000 };
}

async function download(url: string): Promise<string> {
  const response = await fetch(url, {
    redirect: "error",
    signal: AbortSignal.timeout(fetchTimeoutMs),
    headers: { accept: "application/jwk-set+json, application/json" },
  });
  if (response.status !== 200) throw new Error(`the key set's URL answered ${response.status}`);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > setBytesMax) throw new Error(`the key set is larger than ${setBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function readSet(text: string): JSONWebKeySet {
  // What is no key set is refused by createLocalJWKSet.
  const set = JSON.parse(text) as JSONWebKeySet;
  if (Array.isArray(set?.keys) && set.keys.length > keysMax) {
    throw new Error(`the key set has more than ${keysMax} keys`);
  }
  return set;
}
