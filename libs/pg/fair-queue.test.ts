import fc from "fast-check";
import { expect, test } from "vitest";
import { createFairQueue, type FairQueue, type Place } from "./fair-queue.ts";

/** A queue that tells whose turns came, and who was shed, in that order. */
function watched(slotCount: number, waitingMax: number) {
  const queue = createFairQueue({ slotCount, waitingMax });
  const turns: string[] = [];
  const shed: string[] = [];
  const enter = (tenant: string, name = tenant): Place =>
    queue.enter(tenant, { onTurn: () => turns.push(name), onShed: () => shed.push(name) });
  return { queue, turns, shed, enter };
}

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

test("whoever comes while a slot is free works at once, and is not told of a turn", () => {
  const { queue, turns, enter } = watched(2, 10);
  expect([enter("acme"), enter("acme"), enter("acme")].map((one) => one.isWorking)).toEqual([
    true,
    true,
    false,
  ]);
  expect([queue.workingCount, queue.waitingCount, turns]).toEqual([2, 1, []]);
});

test.each([1, 7])(
  "with 500 calls of one tenant waiting, each of another's 20 calls waits for one turn of the flood and no more, at %i slots",
  (slotCount) => {
    const queue = createFairQueue({ slotCount, waitingMax: 1_000 });
    const turns: string[] = [];
    const working: (() => void)[] = [];
    const enter = (name: string): void => {
      const leave = (): void => place.leave();
      const onTurn = (): void => {
        turns.push(name);
        working.push(leave);
      };
      const place = queue.enter(name, { onTurn, onShed: () => expect.fail("nobody is shed") });
      if (place.isWorking) working.push(leave);
    };
    times(slotCount + 500, () => enter("flood"));
    times(20, () => enter("quiet"));
    for (let leave = working.shift(); leave; leave = working.shift()) leave();

    expect(turns).toEqual([...times(20, () => ["flood", "quiet"]).flat(), ...times(480, () => "flood")]);
  },
);

test("when the queue is full, the newest of the tenant with most waiting is shed, and whoever else comes is let in", () => {
  const { queue, shed, enter } = watched(1, 4);
  enter("flood");
  times(4, (index) => enter("flood", `flood ${index}`));
  enter("flood", "one too many");
  expect(shed).toEqual(["one too many"]);

  const quiet = enter("quiet");
  expect(shed).toEqual(["one too many", "flood 3"]);
  expect(quiet.isWorking).toBe(false);
  enter("quiet", "second");
  enter("third", "of a third");
  expect(shed).toEqual(["one too many", "flood 3", "flood 2", "flood 1"]);
  expect(queue.waitingCount).toBe(4);
});

test("a turn that ends as it comes passes on to whoever is next, however many do", () => {
  const queue = createFairQueue({ slotCount: 1, waitingMax: 100_000 });
  const first = queue.enter("acme", { onTurn: () => {}, onShed: () => {} });
  let turns = 0;
  for (let index = 0; index < 50_000; index++) {
    const place = queue.enter(`t-${index % 3}`, {
      onTurn: () => {
        turns += 1;
        place.leave();
      },
      onShed: () => expect.fail("nobody is shed"),
    });
  }
  first.leave();
  expect([turns, queue.workingCount, queue.waitingCount]).toEqual([50_000, 0, 0]);
});

interface Guest {
  readonly id: number;
  readonly tenant: string;
  /** Leaves as soon as its turn comes, from inside of the call that says so. */
  readonly hasty: boolean;
  state: "waiting" | "working" | "gone" | "shed";
  place?: Place;
  /** Turns of each other tenant since it was the first of its own that waited. */
  passedBy: Map<string, number>;
}

/** The rules once more, in the plainest way, held against a queue at every turn. */
function openModel(slotCount: number, waitingMax: number) {
  const queue: FairQueue = createFairQueue({ slotCount, waitingMax });
  const guests: Guest[] = [];
  const inState = (state: Guest["state"]) => guests.filter((guest) => guest.state === state);
  const waitingOf = (tenant: string) => inState("waiting").filter((guest) => guest.tenant === tenant);

  const onTurn = (guest: Guest): void => {
    expect(guest.state).toBe("waiting");
    expect(waitingOf(guest.tenant)[0], "first come, first served within a tenant").toBe(guest);
    guest.state = "working";
    for (const tenant of new Set(inState("waiting").map((other) => other.tenant))) {
      const [head] = waitingOf(tenant);
      if (!head || tenant === guest.tenant) continue;
      const count = (head.passedBy.get(guest.tenant) ?? 0) + 1;
      head.passedBy.set(guest.tenant, count);
      expect(count, "nobody has two turns while another tenant waits for one").toBe(1);
    }
    if (guest.hasty) leave(guest);
  };
  const onShed = (guest: Guest): void => {
    expect(guest.state).toBe("waiting");
    const own = waitingOf(guest.tenant);
    expect(own.at(-1), "the newest of its tenant is shed").toBe(guest);
    for (const other of inState("waiting")) {
      expect(own.length, "of the tenant with most waiting").toBeGreaterThanOrEqual(
        waitingOf(other.tenant).length,
      );
    }
    guest.state = "shed";
  };
  const leave = (guest: Guest): void => {
    guest.state = guest.state === "shed" ? "shed" : "gone";
    guest.place?.leave();
  };
  return {
    queue,
    guests,
    enter(tenant: string, hasty: boolean): void {
      const isFree = inState("working").length < slotCount && inState("waiting").length === 0;
      const guest: Guest = {
        id: guests.length,
        tenant,
        hasty,
        state: isFree ? "working" : "waiting",
        passedBy: new Map(),
      };
      guests.push(guest);
      guest.place = queue.enter(tenant, { onTurn: () => onTurn(guest), onShed: () => onShed(guest) });
    },
    leave,
    check(): void {
      const [working, waiting] = [inState("working"), inState("waiting")];
      expect([queue.workingCount, queue.waitingCount]).toEqual([working.length, waiting.length]);
      expect(working.length).toBeLessThanOrEqual(slotCount);
      expect(waiting.length).toBeLessThanOrEqual(waitingMax);
      if (waiting.length > 0) expect(working.length, "nobody waits beside a free slot").toBe(slotCount);
      for (const guest of guests) expect(guest.place?.isWorking).toBe(guest.state === "working");
    },
  };
}

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ tenant: fc.constantFrom("a", "b", "c", "d"), hasty: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ leaves: fc.nat() }) },
);

test("whoever comes, leaves, is shed or leaves twice, in any order: slots, order, turns and limits hold, and every slot comes back", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 6 }),
      fc.array(step, { maxLength: 80 }),
      (slotCount, waitingMax, steps) => {
        const model = openModel(slotCount, waitingMax);
        for (const one of steps) {
          if ("tenant" in one) model.enter(one.tenant, one.hasty);
          else if (model.guests.length > 0) model.leave(model.guests[one.leaves % model.guests.length]!);
          model.check();
        }
        for (const guest of model.guests) model.leave(guest);
        model.check();
        expect([model.queue.workingCount, model.queue.waitingCount]).toEqual([0, 0]);
      },
    ),
    { numRuns: 500 },
  );
});
