/**
 * Who may work now, when there is more work than slots.
 *
 *   a slot is free      whoever comes works at once
 *   none is             they wait; a slot that comes free goes to the next tenant in the round, and there to whoever came first
 *   too many wait       the newest of the tenant that has most waiting is shed
 *
 * So a flood of one tenant holds up that tenant: another's calls wait for one call of each tenant in the round, and are not shed
 * as long as they are fewer than the flood's. Turns are counted, not what they take: a tenant of slow calls gets as many as others.
 * The round is that of deficit round robin (Shreedhar and Varghese, 1995) with calls of one size, and the shedding its buffer stealing.
 */
export interface FairQueue {
  readonly workingCount: number;
  readonly waitingCount: number;
  /** Takes a slot, or a place to wait for one. */
  enter(tenant: string, waiter: Waiter): Place;
}

export interface Waiter {
  /** Called once the turn comes of who had to wait. Does not throw. */
  readonly onTurn: () => void;
  /** Called when the place is taken away, perhaps before `enter` has returned it. */
  readonly onShed: () => void;
}

export interface Place {
  /** Whether it has a slot. */
  readonly isWorking: boolean;
  /** Gives the slot back, or stops waiting. The second time it does nothing. */
  leave(): void;
}

export interface FairQueueLimits {
  readonly slotCount: number;
  /** Of all tenants together. */
  readonly waitingMax: number;
}

interface Entry {
  readonly tenant: string;
  readonly waiter: Waiter;
  state: "waiting" | "working" | "gone";
}

export function createFairQueue({ slotCount, waitingMax }: FairQueueLimits): FairQueue {
  /** Tenants that wait, in the order of their turns; each has at least one entry. */
  const round = new Map<string, Entry[]>();
  let workingCount = 0;
  let waitingCount = 0;
  let isAdvancing = false;

  const remove = (entry: Entry, own: Entry[]): void => {
    own.splice(own.indexOf(entry), 1);
    if (own.length === 0) round.delete(entry.tenant);
    waitingCount -= 1;
  };

  /** A turn may end before it has returned: then the loop that is under way goes on, rather than another inside of it. */
  const advance = (): void => {
    if (isAdvancing) return;
    isAdvancing = true;
    try {
      for (const [tenant, own] of round) {
        if (workingCount >= slotCount) break;
        const [entry] = own;
        if (!entry) throw new Error("unreachable: tenants without an entry leave the round");
        remove(entry, own);
        if (own.length > 0) {
          round.delete(tenant);
          round.set(tenant, own); // To the end, where the loop comes to it again.
        }
        entry.state = "working";
        workingCount += 1;
        entry.waiter.onTurn();
      }
    } finally {
      isAdvancing = false;
    }
  };

  const shedOne = (newcomer: string): void => {
    let longest = round.get(newcomer) ?? [];
    for (const own of round.values()) if (own.length > longest.length) longest = own;
    const newest = longest.at(-1);
    if (!newest) throw new Error("unreachable: the newcomer waits");
    remove(newest, longest);
    newest.state = "gone";
    newest.waiter.onShed();
  };

  return {
    get workingCount() {
      return workingCount;
    },
    get waitingCount() {
      return waitingCount;
    },
    enter(tenant, waiter) {
      const isFree = workingCount < slotCount && waitingCount === 0;
      const entry: Entry = { tenant, waiter, state: isFree ? "working" : "waiting" };
      if (isFree) {
        workingCount += 1;
      } else {
        const own = round.get(tenant);
        if (own) own.push(entry);
        else round.set(tenant, [entry]);
        waitingCount += 1;
        if (waitingCount > waitingMax) shedOne(tenant);
      }
      return {
        get isWorking() {
          return entry.state === "working";
        },
        leave() {
          const { state } = entry;
          entry.state = "gone";
          if (state === "waiting") remove(entry, round.get(tenant) ?? []);
          if (state !== "working") return;
          workingCount -= 1;
          advance();
        },
      };
    },
  };
}
