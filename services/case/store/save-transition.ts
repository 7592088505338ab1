import type { Statement } from "#libs/pg/statement.ts";
import type { Action, Case } from "../domain/case.ts";
import { changingColumns, fixedColumns } from "./case-columns.ts";
import { entryColumns, numberParameters, writeEntry, type NewEntry } from "./new-entry.ts";

/** Everything one accepted transition writes. */
export interface NewTransition extends NewEntry {
  readonly next: Case;
  readonly action: Action;
  /** Present when the transition wrote a new content version. */
  readonly content: { readonly salt: Uint8Array; readonly bytes: Uint8Array } | undefined;
  /** Present when the transition is an approval. */
  readonly approvalOf: { readonly decisionHash: Uint8Array } | undefined;
}

/**
 * The one data-modifying statement of a write: all of it, or, when the case is no longer at the version before `next`,
 * nothing. `rowCount` is 1 or 0 accordingly. Waits for whoever is changing the same case, then sees what they left.
 */
export function saveTransition(transition: NewTransition): Statement {
  const { next, fromState, action } = transition;
  const kind = fromState === undefined ? "create" : action === "erase" ? "erase" : "change";
  return {
    name: { create: "save_new_case", change: "save_transition", erase: "save_erasure" }[kind],
    text: texts[kind],
    values: [
      ...entryColumns.map(({ valueOf }) => valueOf(transition)),
      next.id,
      next.version,
      ...fixedColumns.map(({ valueOf }) => valueOf(next)),
      ...changingColumns.map(({ valueOf }) => valueOf(next)),
      transition.content?.salt ?? null,
      transition.content?.bytes ?? null,
      transition.approvalOf?.decisionHash ?? null,
      next.approverIds.length,
    ],
  };
}

/** In the order of `values`. */
const p = numberParameters([
  ...entryColumns,
  { name: "case_id", type: "uuid" },
  { name: "version", type: "integer" },
  ...fixedColumns,
  ...changingColumns,
  { name: "salt", type: "bytea" },
  { name: "content", type: "bytea" },
  { name: "decision_hash", type: "bytea" },
  { name: "position", type: "smallint" },
]);

const names = (columns: readonly { readonly name: string }[]): string[] => columns.map(({ name }) => name);
const written = ["tenant_id", "case_id", "version", ...names(fixedColumns), ...names(changingColumns)];
const returning =
  "RETURNING tenant_id, case_id, version, state, submitter_id, review_started_by_id, approvals_required";

const insertCase = `
  WITH saved AS (
    INSERT INTO cases (${written.join(", ")}, submit_action)
    VALUES (${written.map(p).join(", ")}, 'submit')
    ${returning}
  )`;

const updateCase = `
  WITH saved AS (
    UPDATE cases
       SET version = ${p("version")}, ${names(changingColumns)
         .map((name) => `${name} = ${p(name)}`)
         .join(", ")}
     WHERE tenant_id = ${p("tenant_id")} AND case_id = ${p("case_id")} AND version = ${p("version")} - 1
       AND ${names(fixedColumns)
         .map((name) => `${name} = ${p(name)}`)
         .join(" AND ")}
    ${returning}
  )`;

/**
 * Salts, contents, and the answers that hold contents: an emptied answer counts as expired. Its request's hash goes too, since
 * it has no salt: guesses of the content could be tried on it. Answers are found by what their entries were asked with. As in
 * `writeEntry`, each table is read by parameters; `saved` only says whether at all.
 */
const eraseContents = `,
  emptied AS (
    UPDATE case_contents k SET salt = NULL, content = NULL
      FROM saved
     WHERE k.tenant_id = ${p("tenant_id")} AND k.case_id = ${p("case_id")} AND k.content IS NOT NULL
  ),
  asked AS MATERIALIZED (
    SELECT e.principal_id, e.request_id
      FROM saved, audit_entries e
     WHERE e.tenant_id = ${p("tenant_id")} AND e.case_id = ${p("case_id")}
  ),
  forgotten AS (
    UPDATE recorded_answers r SET request_hash = '', answer = '', expires_at = '-infinity'
      FROM asked a
     WHERE r.tenant_id = ${p("tenant_id")} AND r.principal_id = a.principal_id AND r.request_id = a.request_id
  )`;

const contentAndApproval = `,
  content AS (
    INSERT INTO case_contents (tenant_id, case_id, content_version, salt, content, commitment)
    SELECT tenant_id, case_id, ${p("content_version")}, ${p("salt")}, ${p("content")}, ${p("content_commitment")}
      FROM saved WHERE ${p("content")} IS NOT NULL
  ),
  approval AS (
    INSERT INTO approvals (tenant_id, case_id, review_round, approver_id, submitter_id, version, action, decision_hash, position,
                           follows_position, approvals_required, review_started_by_id)
    SELECT tenant_id, case_id, ${p("review_round")}, coalesce(${p("on_behalf_of")}, ${p("principal_id")}), submitter_id, version,
           ${p("action")}, ${p("decision_hash")}, ${p("position")}, nullif(${p("position")} - 1, 0), approvals_required,
           review_started_by_id
      FROM saved WHERE ${p("decision_hash")} IS NOT NULL
  )`;

const followUps = {
  new: contentAndApproval + writeEntry(p, "new"),
  known: contentAndApproval + writeEntry(p, "known"),
};

const texts = {
  create: insertCase + followUps.new,
  change: updateCase + followUps.known,
  erase: updateCase + eraseContents + followUps.known,
};
