import { fromBinary } from "@bufbuild/protobuf";
import { ActorKind, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { appendLeaves, emptyTree, rootOf } from "#libs/merkle/tree.ts";
import { type Changes, makeChainOf } from "./made-history.ts";
import { sha256 } from "./made-log.ts";

/** What a statement of `caseflow reconcile` has to say of a log that has these leaves, counted from them in another way than the verifier's. */
export function makeReconciliation(leaves: readonly Uint8Array[]) {
  const digests = leaves.flatMap((bytes) => {
    const { source, tombstone } = fromBinary(EventSchema, bytes);
    return source === "caseflow/case" ? [tombstone?.originalDigest ?? sha256(bytes)] : [];
  });
  const hashes = leaves.map((bytes) => hashLeaf(bytes));
  return {
    source: "caseflow/case",
    treeSize: BigInt(leaves.length),
    rootHash: rootOf(appendLeaves(emptyTree, hashes)),
    entryCount: BigInt(digests.length),
    entriesDigest: sha256(...digests),
  };
}

/** The history of statements: each is about the leaves that it is given, unless `changes` overrule it. */
export function makeStatements() {
  const chain = makeChainOf("reconciliation/caseflow/case", {
    source: "caseflow/reconcile",
    type: "caseflow.reconciliation.completed",
    actor: { id: "rosa", kind: ActorKind.SERVICE, roles: ["auditor", "event_source"] },
  });
  return (leaves: readonly Uint8Array[], changes: Changes = {}): Uint8Array =>
    chain.append({ reconciliation: makeReconciliation(leaves), ...changes });
}
