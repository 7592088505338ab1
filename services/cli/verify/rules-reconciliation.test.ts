import { expect, test } from "vitest";
import { formatTlogProof } from "#libs/merkle/tlog-proof.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { proveInclusion } from "#libs/merkle/prove.ts";
import { readFrom, tilesInMemory } from "#libs/merkle/tiles-in-memory.ts";
import { judgeBytes, keysOf, makeSmallLog } from "#test/support/judged.ts";
import { judgeEntries } from "#test/support/made-cases.ts";
import { type Changes, makeCase, makeChainOf } from "#test/support/made-history.ts";
import { makeSigner, sha256, signLog } from "#test/support/made-log.ts";
import { makeReconciliation, makeStatements } from "#test/support/made-statements.ts";

const other = () => makeChainOf("boat-7", { source: "harbour/register", type: "harbour.boat.moored" });
/** A policy, a tombstone, and an event of somebody else are among its leaves. */
const leaves = (): readonly Uint8Array[] => [
  ...makeSmallLog(),
  other().append({ actor: { id: "x", kind: 2 } }),
  makeCase().act("created", "ann"),
];

test("statements hold that are about leaves up to their own, or fewer, and go beyond the one before", () => {
  const state = makeStatements();
  const log = [...leaves()];
  log.push(state(log));
  log.push(makeCase().act("created", "ann"));
  log.push(state(log.slice(0, -1)));
  log.push(state(log), makeCase().act("created", "ann"));
  const { first, subjectCount } = judgeEntries(log);
  expect(first).toBeUndefined();
  expect(subjectCount).toBeGreaterThan(5);
});

const size = leaves().length;

type Stated = Partial<ReturnType<typeof makeReconciliation>>;

test.each<[name: string, changes: (log: readonly Uint8Array[]) => Stated, what: RegExp]>([
  ["an entry more", (log) => ({ entryCount: makeReconciliation(log).entryCount + 1n }), /number of entries/],
  ["an entry fewer", (log) => ({ entryCount: makeReconciliation(log).entryCount - 1n }), /number of entries/],
  ["every leaf for an entry", () => ({ entryCount: BigInt(size) }), /number of entries/],
  ["a digest of other entries", () => ({ entriesDigest: sha256("others") }), /digest of the entries/],
  [
    "the digests in another order",
    (log) => ({ entriesDigest: makeReconciliation(log.toReversed()).entriesDigest }),
    /digest of the entries/,
  ],
  [
    "a tombstone's own digest for the entry's",
    (log) => ({ entriesDigest: sha256(...log.map((bytes) => sha256(bytes))) }),
    /digest of the entries/,
  ],
  ["the root of another log", () => ({ rootHash: sha256("another") }), /root of the log/],
  ["a leaf fewer", () => ({ treeSize: BigInt(size - 1) }), /root of the log/],
  ["its own leaf", () => ({ treeSize: BigInt(size + 1) }), /do not stand before it/],
  ["far more leaves than there are", () => ({ treeSize: 2n ** 60n }), /do not stand before it/],
  ["entries of another source", () => ({ source: "harbour/register" }), /does not know/],
])("a statement that names %s breaks a rule", (_, changes, what) => {
  const log = leaves();
  const reconciliation = { ...makeReconciliation(log), ...changes(log) };
  const { first } = judgeEntries([...log, makeStatements()(log, { reconciliation })]);
  expect(first).toMatchObject({ kind: "rule", place: { leafIndex: size } });
  expect(first!.what).toMatch(what);
});

test.each<[name: string, changes: Changes]>([
  ["of another type", { type: "caseflow.reconciliation.hoped_for" }],
  ["in another schema version", { schemaVersion: 2 }],
  ["about another subject", { subject: "reconciliation/harbour/register" }],
  ["without a word", { reconciliation: undefined }],
])("a statement %s is one that cannot be judged", (_, changes) => {
  const log = leaves();
  const { first } = judgeEntries([...log, makeStatements()(log, changes)]);
  expect(first).toMatchObject({ kind: "rule", place: { leafIndex: size } });
  expect(first!.what).toMatch(/does not know/);
});

test("a statement that goes back behind the one before it breaks a rule", () => {
  const log = [...leaves()];
  const state = makeStatements();
  log.push(state(log));
  log.push(state(log.slice(0, -1)));
  const { first } = judgeEntries(log);
  expect(first).toMatchObject({ kind: "rule", place: { leafIndex: size + 1 } });
  expect(first!.what).toMatch(/the statement before it/);
});

test("what a statement says of itself is judged in its proof, too", async () => {
  const signer = makeSigner();
  const proofOf = async (changes: Changes): Promise<string> => {
    const log = leaves();
    const statement = makeStatements()(log, changes);
    const whole = [...log, statement];
    const read = readFrom(tilesInMemory(whole.map((entry) => hashLeaf(entry))));
    const hashes = await proveInclusion(size, whole.length, read);
    return formatTlogProof({ index: size, hashes, checkpoint: signLog(whole, signer), extra: statement });
  };
  const judge = async (changes: Changes) => judgeBytes(await proofOf(changes), keysOf(signer));
  expect(await judge({})).toBeUndefined();
  const beyond = { ...makeReconciliation(leaves()), treeSize: BigInt(size + 1) };
  expect(await judge({ reconciliation: beyond })).toMatchObject({ kind: "rule", place: { leafIndex: size } });
  expect(await judge({ type: "caseflow.reconciliation.hoped_for" })).toMatchObject({ kind: "rule" });
});
