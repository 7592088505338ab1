import { DatabaseError } from "pg";
import { asksToTryAgain } from "#libs/pg/try-again.ts";

const uniqueViolation = "23505";
/**
 * Unique constraints whose violation means: somebody was faster. A policy's version can be lost to another setter, an act on
 * delivery and its tombstone to another operator, a voice to the same person who speaks elsewhere at the same time.
 */
const lostRaceConstraints: ReadonlySet<string> = new Set([
  "recorded_answers_once",
  "case_policies_pkey",
  "audit_entries_request_id_once",
  "audit_entries_one_voice",
  "audit_entries_pkey",
  "tombstones_pkey",
  "approvals_once_a_person",
]);

/** Whether somebody else was faster, nothing was written, and looking again will tell what to do. */
export function isLostRace(error: unknown): boolean {
  if (!(error instanceof DatabaseError)) return false;
  if (error.code === uniqueViolation) return lostRaceConstraints.has(error.constraint ?? "");
  return asksToTryAgain(error);
}
