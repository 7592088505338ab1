import { afterAll, beforeAll, expect, test } from "vitest";
import { fromBinary } from "@bufbuild/protobuf";
import type pg from "pg";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { makeSigner, signLog } from "../support/made-log.ts";
import type { Ended } from "../support/caseflow-command.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { makeCase } from "../support/made-history.ts";
import { underReview } from "../support/made-cases.ts";
import { type Found, sealLog, type SealedEvent, type SealedLog } from "../support/sealed-log.ts";
import { logOrigin } from "../support/signing.ts";
import {
  drop,
  forgetCheckpoints,
  forgetTree,
  insert,
  rewrite,
  rewriteHistory,
  swap,
} from "../support/tamper-rows.ts";

expectNoLeaks();

/*
 * A log of real cases, signed, verified and mirrored. Then somebody with all rights in its database tampers with it, and the
 * service is started on what is left: what do the signer, the service, its export, a new mirror, a proof and the mirror from before
 * say? Each in a copy of its own.
 */

let log: SealedLog;

beforeAll(async () => {
  log = await sealLog();
});
afterAll(() => log[Symbol.asyncDispose]());

/** The first event from this leaf on whose history goes on. */
const eventFrom = (leafIndex: number): SealedEvent =>
  log.events.find((event) => event.leafIndex >= leafIndex && event.nextLeaf !== undefined)!;
/** In a full tile, and in the one that still grows. */
const [inFullTile, inOpenTile] = [210, 257];
/** A field that nobody knows: it still is the event, and says the same. */
const unknownField = Buffer.from([0xc0, 0x3e, 0x01]);
const withUnknownField = ({ bytes }: SealedEvent) => Buffer.concat([bytes, unknownField]);

/** Exit codes of whoever is asked, and what the signer says. */
type Verdicts = Readonly<Record<Exclude<keyof Found, "signer">, number>> & { readonly signer: string };
const sound = {
  ...{ service: 0, exported: 0, mirrored: 0, proved: 0, later: 0, mirroredOn: 0 },
  signer: "signs",
};
/** What the service has of a leaf is not what its own columns say, or nothing. */
const withheld = { ...sound, service: 3, exported: 1, mirrored: 1, proved: 1, later: 3 };
/** The events are not those that were signed. The mirror from before still has those. */
const changed = { ...sound, service: 11, exported: 11, mirrored: 11, proved: 12, later: 11 };
/** No key of the log signed this. */
const forged = {
  ...{ service: 10, exported: 10, mirrored: 10, proved: 10, later: 10, mirroredOn: 10 },
};

interface Kind {
  readonly act: (superuser: pg.Client, event: SealedEvent) => Promise<unknown>;
  /** The event is the first from this leaf on whose history goes on. */
  readonly from?: number;
  readonly losesState?: boolean;
  readonly verdicts: Verdicts;
  /** The first leaf that the verifier names; none where the events are as they were, or contradict nothing. */
  readonly named?: (event: SealedEvent) => number;
}

const itself = ({ leafIndex }: SealedEvent) => leafIndex;
const run = (sql: string) => (superuser: pg.Client) => superuser.query(sql);

const kinds: Readonly<Record<string, Kind>> = {
  "an event is rewritten, its digest with it": {
    act: (superuser, event) => rewrite(superuser, event.leafIndex, withUnknownField(event)),
    verdicts: changed,
    named: itself,
  },
  "an event of the tile that still grows is rewritten, its digest with it": {
    act: (superuser, event) => rewrite(superuser, event.leafIndex, withUnknownField(event)),
    from: inOpenTile,
    verdicts: { ...changed, signer: "damaged" },
    named: itself,
  },
  "an event is rewritten, with its digest, tile and tree": {
    async act(superuser, event) {
      await rewrite(superuser, event.leafIndex, withUnknownField(event));
      await superuser.query(forgetTree);
    },
    verdicts: { ...changed, signer: "forked" },
    named: itself,
  },
  "a history is rewritten so that nothing contradicts anything, with its tiles and tree": {
    async act(superuser, { leafIndex }) {
      await rewriteHistory(superuser, log.events, leafIndex, { requestId: "" });
      await superuser.query(forgetTree);
    },
    verdicts: { ...changed, signer: "forked" },
  },
  "a history is rewritten, with the tree, every checkpoint, and what the signer remembers": {
    async act(superuser, { leafIndex }) {
      await rewriteHistory(superuser, log.events, leafIndex, { requestId: "" });
      await superuser.query(`${forgetTree}; ${forgetCheckpoints}`);
    },
    losesState: true,
    // It is signed anew, and only those who remember the old log know.
    verdicts: { ...sound, service: 16, exported: 16, later: 16, mirroredOn: 16 },
  },
  "what the signer remembers is taken away": {
    act: async () => {},
    losesState: true,
    verdicts: { ...sound, signer: "state_unusable" },
  },
  "a rewritten log is signed by a key of the tamperer's": {
    async act(superuser, event) {
      await rewrite(superuser, event.leafIndex, withUnknownField(event));
      const entries = log.events.map((one) => (one === event ? withUnknownField(one) : one.bytes));
      const note = signLog(entries, makeSigner(`${logOrigin}/acme`));
      await superuser.query(forgetTree);
      await superuser.query("UPDATE checkpoints SET note = $1 WHERE tree_size = $2", [note, entries.length]);
    },
    verdicts: { ...forged, signer: "forked" },
  },
  "the checkpoint is put in another log's name": {
    act: run("UPDATE checkpoints SET note = replace(note, '/acme', '/acmf')"),
    verdicts: { ...forged, signer: "damaged" },
  },
  "a tile's root is another's": {
    act: run("UPDATE tiles SET root = sha256(root)"),
    from: inOpenTile,
    verdicts: { ...sound, proved: 12, signer: "damaged" },
  },
  "the tree's edge is another's": {
    act: run("UPDATE logs SET tree_edge = sha256('') || substr(tree_edge, 33)"),
    verdicts: { ...sound, signer: "damaged" },
  },
  "an event is dropped": {
    act: (superuser, { leafIndex }) =>
      superuser.query("DELETE FROM events WHERE leaf_index = $1", [leafIndex]),
    verdicts: withheld,
    named: itself,
  },
  "an event of the tile that still grows is dropped": {
    act: (superuser, { leafIndex }) =>
      superuser.query("DELETE FROM events WHERE leaf_index = $1", [leafIndex]),
    from: inOpenTile,
    verdicts: { ...withheld, signer: "damaged" },
    named: itself,
  },
  "an event is dropped and the gap closed": {
    act: (superuser, { leafIndex }) => drop(superuser, leafIndex),
    // Once another event has come the log has its size again.
    verdicts: { ...withheld, later: 11, signer: "rolled_back" },
    named: () => log.events.length - 1,
  },
  "an event is doubled": {
    act: (superuser, { leafIndex, bytes }) => insert(superuser, leafIndex + 1, bytes),
    verdicts: { ...changed, signer: "forked" },
    named: ({ leafIndex }) => leafIndex + 1,
  },
  "two events of different subjects are swapped": {
    act: (superuser, { leafIndex }) => swap(superuser, leafIndex, leafIndex + 1),
    verdicts: changed,
  },
  "two events of one subject are swapped, with tiles and tree": {
    async act(superuser, { leafIndex, nextLeaf }) {
      await swap(superuser, leafIndex, nextLeaf!);
      await superuser.query(forgetTree);
    },
    verdicts: { ...changed, signer: "forked" },
    named: itself,
  },
  "another event is put before it": {
    act: (superuser, { leafIndex }) => insert(superuser, leafIndex, makeCase().act("created", "eve")),
    verdicts: { ...changed, signer: "forked" },
  },
  "an event comes again behind all": {
    act: (superuser, { bytes }) => insert(superuser, log.events.length, bytes),
    // It extends what was signed, and so the signer takes it.
    verdicts: { ...sound, service: 13, exported: 13, later: 13 },
    named: () => log.events.length,
  },
};

test("of a log with which nobody tampered everybody says that it is good", async () => {
  const { signer, ...asked } = await log.tamper({ provedLeaf: inFullTile });
  expect({ ...exitsOf(asked), signer }, told(asked)).toEqual(sound);
});

test.each(Object.entries(kinds))("when %s, whoever can know finds it", async (_, kind) => {
  const { act, from = inFullTile, losesState = false, verdicts, named } = kind;
  const event = eventFrom(from);
  const tampering = { act: (superuser: pg.Client) => act(superuser, event), losesState };
  const { signer, ...asked } = await log.tamper({ ...tampering, provedLeaf: event.leafIndex });
  expect({ ...exitsOf(asked), signer }, told(asked)).toEqual(verdicts);
  const leaves = [...asked.service.stderr.matchAll(/leaf (\d+)/g)].map(([, leaf]) => Number(leaf));
  expect(leaves.length === 0 ? undefined : Math.min(...leaves), told(asked)).toBe(named?.(event));
});

const exitsOf = (asked: Readonly<Record<string, Ended>>) =>
  Object.fromEntries(Object.entries(asked).map(([who, { exit }]) => [who, exit]));
const told = (asked: Readonly<Record<string, Ended>>) =>
  Object.entries(asked)
    .map(([who, { stderr }]) => `${who}: ${stderr}`)
    .join("");

test("a self-approval that a tampered service delivers is signed like any event, and found by the rule", async () => {
  const made = underReview();
  const approval = made.act("approved", "ben"); // Who submitted it.
  const found = await log.tamper({ delivers: made.entries, provedLeaf: 0 });
  expect(found.signer).toBe("signs");
  const { eventId } = fromBinary(EventSchema, approval);
  const leaf = log.events.length + made.entries.indexOf(approval);
  for (const { exit, stderr } of [found.service, found.exported, found.later]) {
    expect(stderr).toContain(`leaf ${leaf}, subject ${made.id}, sequence 6, event ${eventId}`);
    expect(exit).toBe(15);
  }
});

test("a self-approval that is written behind all as the database's superuser is found by the rule", async () => {
  const made = underReview();
  made.act("approved", "ben");
  const { service, signer } = await log.tamper({
    async act(superuser) {
      for (const [at, bytes] of made.entries.entries())
        await insert(superuser, log.events.length + at, bytes);
    },
    provedLeaf: 0,
  });
  expect(service.stderr).toContain(`leaf ${log.events.length + 5}, subject ${made.id}, sequence 6,`);
  expect({ exit: service.exit, signer }).toEqual({ exit: 15, signer: "signs" });
});
