import { randomUUID } from "node:crypto";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { DeliveryOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { openNote, readVerifierKey } from "#libs/merkle/signed-note.ts";
import { createReference } from "#libs/merkle/slow-reference.ts";
import { verifyConsistency, verifyInclusion } from "#libs/merkle/verify-proof.ts";
import { startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { cloneAuditDatabase } from "./support/databases.ts";
import { makeChain, makeEvent, type TestEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { logOrigin, makeSigning, untilSealed, type Signing } from "./support/signing.ts";
import { expectSoundTrees, readReference } from "./support/sound-tree.ts";
import { openSuperuser } from "./support/superuser.ts";

expectNoLeaks();

/* The log as callers see it: checkpoints, proofs, and when events were sealed. */

const stack = new AsyncDisposableStack();
let signing: Signing;
let audit: AuditServiceFixture;
let source: AuditClient;
let superuser: pg.Client;

beforeAll(async () => {
  signing = stack.use(await makeSigning());
  audit = stack.use(await startAuditService({ signing }));
  source = await audit.source();
  superuser = stack.use(await openSuperuser(audit.database.superuserUrl));
});
afterAll(() => stack.disposeAsync());

async function deliver(events: readonly TestEvent[], through = source): Promise<void> {
  for (let at = 0; at < events.length; at += 500) {
    await through.recordEvents({ events: events.slice(at, at + 500).map(({ bytes }) => bytes) });
  }
}

const makeEvents = (count: number, tenantId: string): TestEvent[] =>
  Array.from({ length: count }, () => makeEvent({ tenantId }));

/** Origin, size and root of a note that one of the keys signed. */
async function open(note: string, tenant: string) {
  const keys = await signing.vkeys(tenant);
  const { text, verifiedBy } = openNote(note, keys.map(readVerifierKey));
  return { ...readCheckpoint(text), verifiedBy };
}

test("each leaf and each earlier size is proved under what was signed, over full and partial tiles", async () => {
  const tenant = "proofs";
  const auditor = await audit.auditor(tenant);
  const events = makeEvents(800, tenant);
  const sizes = [3, 256, 513, 800];
  for (const [at, size] of sizes.entries()) {
    await deliver(events.slice(sizes[at - 1] ?? 0, size));
    const { checkpoint } = await untilSealed(auditor);
    const reference = await readReference(superuser, tenant);
    expect(await open(checkpoint, tenant)).toEqual({
      origin: `${logOrigin}/${tenant}`,
      size,
      root: reference.root(size),
      verifiedBy: await signing.vkeys(tenant),
    });
  }
  const reference = await readReference(superuser, tenant);
  const signed = (await auditor.getCheckpoint({})).checkpoint;

  for (const size of [1, 2, 3, 255, 256, 257, 511, 512, 513, 768, 800]) {
    const root = reference.root(size);
    for (const index of [0, 1, 254, 255, 256, 511, 512, 700, size - 1].filter((leaf) => leaf < size)) {
      const by = { case: "leafIndex" as const, value: BigInt(index) };
      const proof = await auditor.getInclusionProof({ target: by, treeSize: BigInt(size) });
      expect(proof).toMatchObject({ leafIndex: by.value, treeSize: BigInt(size), checkpoint: signed });
      const leafHash = hashLeaf(events[index]!.bytes);
      expect(verifyInclusion({ leafHash, index, size, proof: proof.hashes, root })).toBe(true);
      expect(proof.hashes.map(toHex)).toEqual(reference.inclusion(index, size).map(toHex));
    }
    for (const first of [1, 2, 255, 256, 300, 512, size].filter((earlier) => earlier <= size)) {
      const sizesAsked = { firstSize: BigInt(first), secondSize: BigInt(size) };
      const proof = await auditor.getConsistencyProof(sizesAsked);
      expect(proof).toMatchObject({ ...sizesAsked, checkpoint: signed });
      const roots = { firstRoot: reference.root(first), secondRoot: root };
      expect(verifyConsistency({ first, second: size, ...roots, proof: proof.hashes })).toBe(true);
      expect(proof.hashes.map(toHex)).toEqual(reference.consistency(first, size).map(toHex));
    }
  }
}, 60_000);

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("an event's proof by its id is that by its place, and size 0 is that of the newest checkpoint", async () => {
  const tenant = "by-id";
  const auditor = await audit.auditor(tenant);
  const events = makeEvents(20, tenant);
  await deliver(events);
  const { checkpoint } = await untilSealed(auditor);
  const eventId = events[13]!.eventId.toUpperCase();
  const byId = await auditor.getInclusionProof({ target: { case: "eventId", value: eventId } });
  const byPlace = await auditor.getInclusionProof({
    target: { case: "leafIndex", value: 13n },
    treeSize: 20n,
  });
  expect(byId).toEqual(byPlace);
  expect(byId).toMatchObject({ leafIndex: 13n, treeSize: 20n, checkpoint });
  expect(await auditor.getConsistencyProof({ firstSize: 7n })).toEqual(
    await auditor.getConsistencyProof({ firstSize: 7n, secondSize: 20n }),
  );
});

test("sizes and places outside of what is signed are refused, each with its reason", async () => {
  const tenant = "bounds";
  const auditor = await audit.auditor(tenant);
  const [event] = makeEvents(1, tenant);
  await deliver([event!, ...makeEvents(9, tenant)]);
  await untilSealed(auditor);
  const invalid = "InvalidArgument INVALID_REQUEST";
  const unknown = "NotFound EVENT_NOT_FOUND";
  const huge = 2n ** 64n - 1n;

  const inclusion = (leafIndex: bigint, treeSize: bigint) =>
    refusalOf(auditor.getInclusionProof({ target: { case: "leafIndex", value: leafIndex }, treeSize }));
  expect(await inclusion(9n, 10n)).toBe("accepted");
  expect(await inclusion(9n, 9n)).toBe(invalid);
  expect(await inclusion(9n, 11n)).toBe(invalid);
  expect(await inclusion(0n, huge)).toBe(invalid);
  expect(await inclusion(10n, 0n)).toBe(unknown);
  expect(await inclusion(huge, 0n)).toBe(unknown);
  const byId = (eventId: string) =>
    refusalOf(auditor.getInclusionProof({ target: { case: "eventId", value: eventId } }));
  expect(await byId(event!.eventId)).toBe("accepted");
  expect(await byId(randomUUID())).toBe(unknown);
  expect(await refusalOf(auditor.getInclusionProof({}))).toBe(invalid);

  const consistency = (firstSize: bigint, secondSize: bigint) =>
    refusalOf(auditor.getConsistencyProof({ firstSize, secondSize }));
  expect(await consistency(10n, 0n)).toBe("accepted");
  expect(await consistency(10n, 10n)).toBe("accepted");
  expect(await consistency(0n, 10n)).toBe(invalid);
  expect(await consistency(6n, 5n)).toBe(invalid);
  expect(await consistency(1n, 11n)).toBe(invalid);
  expect(await consistency(11n, 0n)).toBe(invalid);
  expect(await consistency(huge, huge)).toBe(invalid);

  const stranger = await audit.auditor("bounds-2");
  expect(
    await refusalOf(stranger.getInclusionProof({ target: { case: "eventId", value: event!.eventId } })),
  ).toBe(unknown);
});

test("while nothing is signed there is no checkpoint, no proof and no time of sealing, and afterwards all three", async () => {
  await using database = await cloneAuditDatabase();
  const events = makeEvents(3, "late");
  const byId = { target: { case: "eventId" as const, value: events[1]!.eventId } };
  const none = "NotFound CHECKPOINT_NOT_FOUND";
  {
    await using unsigned = await startAuditService({ database });
    const auditor = await unsigned.auditor("late");
    expect(await refusalOf(auditor.getCheckpoint({})), "of an empty log").toBe(none);
    await deliver(events, await unsigned.source());
    expect(await refusalOf(auditor.getCheckpoint({}))).toBe(none);
    expect(await refusalOf(auditor.getInclusionProof(byId))).toBe(none);
    expect(await refusalOf(auditor.getConsistencyProof({ firstSize: 1n }))).toBe(none);
    expect((await auditor.getEvent({ eventId: events[1]!.eventId })).event?.sealedAt).toBeUndefined();
  }
  {
    await using signed = await startAuditService({ database, signing: true });
    const auditor = await signed.auditor("late");
    const { sealedAt } = await untilSealed(auditor);
    expect(await refusalOf(auditor.getInclusionProof(byId))).toBe("accepted");
    const { events: listed } = await auditor.listEvents({});
    expect(listed.map((event) => event.sealedAt)).toEqual([sealedAt, sealedAt, sealedAt]);
  }
  // What comes after the last checkpoint is in the log, and not sealed.
  await using unsigned = await startAuditService({ database });
  const auditor = await unsigned.auditor("late");
  const later = makeEvents(2, "late");
  await deliver(later, await unsigned.source());
  const target = { case: "eventId" as const, value: later[0]!.eventId };
  expect(await auditor.getCheckpoint({})).toMatchObject({ unsealedCount: 2n });
  expect(await refusalOf(auditor.getInclusionProof({ target }))).toBe(none);
  expect(await refusalOf(auditor.getInclusionProof({ target, treeSize: 5n }))).toBe(
    "InvalidArgument INVALID_REQUEST",
  );
  expect((await auditor.getEvent({ eventId: later[0]!.eventId })).event?.sealedAt).toBeUndefined();
  expect(await refusalOf(auditor.getInclusionProof(byId))).toBe("accepted");
});

test("an event is sealed by the first checkpoint that covers it, and a clock that goes back takes no seal before another", async () => {
  await using database = await cloneAuditDatabase();
  await using own = await makeSigning();
  const hourMs = 3_600_000;
  const noon = new Date("2026-05-01T12:00:00.123Z").getTime();
  const sealedAt: (string | undefined)[] = [];
  // Three signers one after the other, whose clocks go on, back, and on again.
  for (const [at, clock] of [noon, noon - hourMs, noon + hourMs].entries()) {
    await using service = await startAuditService({ database, signing: own, now: () => new Date(clock) });
    await deliver(makeEvents(2, "clock"), await service.source());
    const auditor = await service.auditor("clock");
    const checkpoint = await untilSealed(auditor);
    const { events } = await auditor.listEvents({});
    const times = events.map((event) => toIso(event.sealedAt));
    expect(times.slice(0, 2 * at), "what was sealed before").toEqual(sealedAt);
    expect(new Set(times.slice(2 * at))).toEqual(new Set([toIso(checkpoint.sealedAt)]));
    sealedAt.push(...times.slice(2 * at));
  }
  const iso = (ms: number) => new Date(ms).toISOString();
  expect(sealedAt).toEqual([noon, noon, noon, noon, noon + hourMs, noon + hourMs].map(iso));
});

function toIso(time: { readonly seconds: bigint; readonly nanos: number } | undefined): string | undefined {
  return time && new Date(Number(time.seconds) * 1_000 + time.nanos / 1_000_000).toISOString();
}

test("keys overlap: each checkpoint has a signature of every key of its time, and old ones hold when their key is gone", async () => {
  await using database = await cloneAuditDatabase();
  await using own = await makeSigning();
  const [tenant, name] = ["rotation", `${logOrigin}/rotation`];
  const round = async () => {
    await using service = await startAuditService({ database, signing: own });
    await deliver(makeEvents(1, tenant), await service.source());
    const { checkpoint, verifierKeys } = await untilSealed(await service.auditor(tenant));
    return { checkpoint, verifierKeys, active: await own.vkeys(tenant) };
  };
  const old = await round();
  await own.addKey("2.pem");
  const both = await round();
  await own.removeKey("1.pem");
  const young = await round();

  const [first, second] = [old.active[0]!, young.active[0]!];
  expect([old, both, young].map(({ active }) => active)).toEqual([[first], [first, second], [second]]);
  const verifiedBy = (note: string) => openNote(note, [first, second].map(readVerifierKey)).verifiedBy;
  expect(verifiedBy(old.checkpoint)).toEqual([first]);
  expect(verifiedBy(both.checkpoint)).toEqual([first, second]);
  expect(verifiedBy(young.checkpoint)).toEqual([second]);
  expect(readCheckpoint(openNote(old.checkpoint, [readVerifierKey(first)]).text)).toMatchObject({
    origin: name,
    size: 1,
  });
  expect([old, both, young].map(({ verifierKeys }) => verifierKeys)).toEqual([
    [first],
    [second, first],
    [second, first],
  ]);
});

test("delivered five times, shuffled, by four senders at once, a log is what it is when the same events come once, in its order", async () => {
  const tenantId = "crowd";
  const chains = Array.from({ length: 30 }, () => makeChain(8, { tenantId }));
  const events = chains.flat();
  const senders = await Promise.all(Array.from({ length: 4 }, () => audit.source()));
  await Promise.all(
    senders.map(async (sender, own) => {
      for (let time = 0; time < 5; time += 1) {
        const shuffled = events.toSorted((a, b) => rank(a, own, time) - rank(b, own, time));
        await deliverAnyhow(sender, shuffled, 50 + 17 * own);
      }
    }),
  );
  const auditor = await audit.auditor(tenantId);
  const { checkpoint } = await untilSealed(auditor);
  const crowded = await open(checkpoint, tenantId);
  const order = await leavesOf(tenantId);
  expect(order.toSorted()).toEqual(events.map(({ eventId }) => eventId).toSorted());
  for (const chain of chains) {
    const own = new Set(chain.map(({ eventId }) => eventId));
    expect(order.filter((eventId) => own.has(eventId))).toEqual(chain.map(({ eventId }) => eventId));
  }
  await expectSoundTrees(superuser);

  const byId = new Map(events.map((event) => [event.eventId, event]));
  const inOrder = order.map((eventId) => byId.get(eventId)!);
  const slowRoot = createReference((index) => inOrder[index]!.bytes).root(events.length);
  expect(crowded).toMatchObject({ size: events.length, root: slowRoot });
  await using once = await startAuditService({ signing: true });
  await deliver(inOrder, await once.source());
  const calm = await untilSealed(await once.auditor(tenantId));
  const textOf = (note: string) => note.slice(0, note.lastIndexOf("\n\n"));
  expect(textOf(calm.checkpoint)).toBe(textOf(checkpoint));
}, 60_000);

/** In batches, and what comes too early again and again, until all of it is there. */
async function deliverAnyhow(
  sender: AuditClient,
  events: readonly TestEvent[],
  batchSize: number,
): Promise<void> {
  const { APPLIED, DUPLICATE } = DeliveryOutcome;
  let waiting = events;
  for (let at = 0; waiting.length > 0; at = at + batchSize < waiting.length ? at + batchSize : 0) {
    const batch = waiting.slice(at, at + batchSize);
    const { outcomes } = await sender.recordEvents({ events: batch.map(({ bytes }) => bytes) });
    const isDone = (outcome: DeliveryOutcome) => outcome === APPLIED || outcome === DUPLICATE;
    const done = new Set(outcomes.flatMap(({ outcome, eventId }) => (isDone(outcome) ? [eventId] : [])));
    waiting = waiting.filter(({ eventId }) => !done.has(eventId));
  }
}

/** Ids of the tenant's events in the order of its log. */
async function leavesOf(tenantId: string): Promise<string[]> {
  const { rows } = await superuser.query<{ event_id: string }>(
    "SELECT event_id FROM events WHERE tenant_id = $1 ORDER BY leaf_index",
    [tenantId],
  );
  return rows.map(({ event_id: eventId }) => eventId);
}

/** By chance, another place of the event for each sender and each time. */
function rank({ eventId }: TestEvent, sender: number, time: number): number {
  return Buffer.from(hashLeaf(Buffer.from(`${eventId} ${sender} ${time}`))).readUInt32BE();
}
