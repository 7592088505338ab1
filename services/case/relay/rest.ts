const firstMs = 100;
const longestMs = 5_000;
const entriesMax = 10_000;

/** What is not to be tried again for a while, the longer the more often it failed in a row. Kept in memory only. */
export interface Rest<K> {
  /** How long `key` still rests; 0 or less: it may be tried. */
  remainingMs(key: K): number;
  /** Sends `key` to rest; returns for how long. */
  failed(key: K): number;
  succeeded(key: K): void;
}

/** `nowMs` is a monotonic clock. Beyond 10,000 keys the oldest is forgotten: it is tried again at once, which is safe. */
export function createRest<K>(nowMs: () => number, random: () => number): Rest<K> {
  const byKey = new Map<K, { failures: number; until: number }>();
  return {
    remainingMs: (key) => (byKey.get(key)?.until ?? 0) - nowMs(),
    failed(key) {
      const failures = (byKey.get(key)?.failures ?? 0) + 1;
      const ms = restMs(failures, random());
      byKey.delete(key);
      const [oldest] = byKey.keys();
      if (byKey.size >= entriesMax && oldest !== undefined) byKey.delete(oldest);
      byKey.set(key, { failures, until: nowMs() + ms });
      return ms;
    },
    succeeded: (key) => void byKey.delete(key),
  };
}

/** Doubles from the first to the longest, half of it by chance, so that many relays do not come back as one. */
function restMs(failures: number, chance: number): number {
  const ms = Math.min(longestMs, firstMs * 2 ** Math.min(failures - 1, 10));
  return ms / 2 + (chance * ms) / 2;
}
