/** Instants by key, which mean something until they are over. */
export interface Instants {
  /** The key's instant; `undefined`: there is none, or it is over. */
  get(key: string, nowUs: number): number | undefined;
  set(key: string, atUs: number, nowUs: number): void;
  readonly size: number;
}

/**
 * Keeps at most `countMax` instants. Each that is set lets go of two that are over, of those that were not touched for longest, so that
 * there are never many more than are alive; where all are, the one not touched for longest goes.
 */
export function createInstants(countMax: number): Instants {
  /** In the order in which they were set last. */
  const instants = new Map<string, number>();

  function letGo(nowUs: number): void {
    let looked = 0;
    for (const [key, atUs] of instants) {
      if (atUs > nowUs && instants.size <= countMax) return;
      instants.delete(key);
      looked += 1;
      if (looked === 2) return;
    }
  }

  return {
    get(key, nowUs) {
      const atUs = instants.get(key);
      return atUs !== undefined && atUs > nowUs ? atUs : undefined;
    },
    set(key, atUs, nowUs) {
      instants.delete(key);
      instants.set(key, atUs);
      letGo(nowUs);
    },
    get size() {
      return instants.size;
    },
  };
}
