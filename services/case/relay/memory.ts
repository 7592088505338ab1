import { createRest, type Rest } from "./rest.ts";

/** What a relay remembers between visits. All of it may be lost: it saves work and decides nothing about safety. */
export interface RelayMemory {
  readonly database: Rest<"case">;
  /** Lanes in which too much failed. */
  readonly lanes: Rest<number>;
  /** Tenants whose delivery failed. */
  readonly tenants: Rest<string>;
  /** Cases whose events came out of order, or on which the service broke. */
  readonly cases: Rest<string>;
  readonly suspects: Suspects;
  /** By lane, the tenant at which the last visit ended: the next one goes on behind it. */
  readonly lastTenants: Map<number, string>;
}

/** Events on which the audit service broke although they were alone. */
export interface Suspects {
  /** Something got through. */
  gotThrough(): void;
  /** Tells whether the fault is surely the event's: it failed alone `failuresMax` times, and others got through between. */
  failedAlone(eventId: string): boolean;
}

const failuresMax = 3;
const suspectsMax = 1_000;

export function createMemory(): RelayMemory {
  const nowMs = (): number => performance.now();
  return {
    database: createRest(nowMs, Math.random),
    lanes: createRest(nowMs, Math.random),
    tenants: createRest(nowMs, Math.random),
    cases: createRest(nowMs, Math.random),
    suspects: createSuspects(),
    lastTenants: new Map(),
  };
}

export function createSuspects(): Suspects {
  let deliveries = 0;
  const known = new Map<string, { failures: number; deliveries: number }>();
  return {
    gotThrough: () => void (deliveries += 1),
    failedAlone(eventId) {
      const before = known.get(eventId);
      const failures = before === undefined ? 1 : before.failures + (deliveries > before.deliveries ? 1 : 0);
      if (failures >= failuresMax) return known.delete(eventId);
      const [oldest] = known.keys();
      if (before === undefined && known.size >= suspectsMax && oldest !== undefined) known.delete(oldest);
      known.set(eventId, { failures, deliveries });
      return false;
    },
  };
}
