import { createHash } from "node:crypto";

import type { Breach } from "./breach.ts";
import { quote } from "./fault.ts";
import { growTree } from "./hash-tree.ts";
import type { Ledger, SubjectState } from "./ledger.ts";
import { type LoggedEvent, toHex } from "./read-event.ts";

/*
 * What a statement of `caseflow reconcile` says of the log, counted anew from the leaves that it is about.
 *
 * A statement stands behind the one before it, which is among those leaves. So what statements are about only grows, and the
 * leaves are gone through once for all of them.
 */

/** Who tells statements, of whom they are, and what they are. */
export const statementSource = "caseflow/reconcile";
export const reconciledSource = "caseflow/case";
export const statementSubject = `reconciliation/${reconciledSource}`;
export const statementType = "caseflow.reconciliation.completed";
export const statementSchemaVersion = 1;

export interface StatementJudge {
  /** `before`: where the event's history stood. Nothing is held against events of other sources. */
  findBreach(before: SubjectState | undefined, logged: LoggedEvent): Breach | undefined;
}

/** `ledger` has the leaves before the statement; without it a statement is judged by itself. */
export function createStatementJudge(ledger: Ledger | undefined): StatementJudge {
  const tree = growTree(undefined);
  const digest = createHash("sha256");
  let entryCount = 0;
  let size = 0;

  function advance(from: Ledger, to: number): void {
    for (const { leafHash, entryDigest } of from.leaves(size, to)) {
      tree.add(leafHash);
      if (!entryDigest) continue;
      digest.update(entryDigest);
      entryCount += 1;
    }
    size = to;
  }

  return {
    findBreach(before, logged) {
      if (logged.event.source !== statementSource) return undefined;
      const breach = findStatementBreach(logged) ?? findOrderBreach(before, logged);
      const stated = logged.event.reconciliation;
      if (breach || !stated || !ledger) return breach;
      advance(ledger, Number(stated.treeSize));
      const checks: readonly (readonly [what: string, found: string, expected: string])[] = [
        ["root of the log", toHex(stated.rootHash), toHex(tree.root())],
        ["number of entries", String(stated.entryCount), String(entryCount)],
        ["digest of the entries", toHex(stated.entriesDigest), digest.copy().digest("hex")],
      ];
      const differing = checks.find(([, found, expected]) => found !== expected);
      if (!differing) return undefined;
      const [name, found, expected] = differing;
      return {
        what: `The statement names another ${name} than that of the leaves before it.`,
        expected,
        found,
      };
    },
  };
}

/** What stands against a statement by itself. */
export function findStatementBreach({ event, leafIndex }: LoggedEvent): Breach | undefined {
  if (event.source !== statementSource) return undefined;
  const { type, schemaVersion, subject, reconciliation } = event;
  const isKnown =
    type === statementType &&
    schemaVersion === statementSchemaVersion &&
    subject === statementSubject &&
    reconciliation?.source === reconciledSource;
  if (!isKnown) {
    const what = `This verifier does not know what ${quote(type)} (schema version ${schemaVersion}) states.`;
    return { what, expected: "a statement that is known" };
  }
  if (reconciliation.treeSize <= BigInt(leafIndex)) return undefined;
  return {
    what: "The statement is about leaves that do not stand before it.",
    expected: `at most ${leafIndex} leaves`,
    found: `${reconciliation.treeSize} leaves`,
  };
}

function findOrderBreach(before: SubjectState | undefined, { event }: LoggedEvent): Breach | undefined {
  const treeSize = event.reconciliation?.treeSize ?? 0n;
  if (!before || BigInt(before.leafIndex) < treeSize) return undefined;
  return {
    what: "The statement is not about the leaf of the statement before it.",
    expected: `more than ${before.leafIndex} leaves`,
    found: `${treeSize} leaves`,
  };
}
