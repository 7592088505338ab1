import { DatabaseError } from "pg";
import { lostRaceConstraints } from "./save-transition.ts";

const uniqueViolation = "23505";
/** `serialization_failure` and `deadlock_detected`: PostgreSQL asks to try again. */
const tryAgainCodes: ReadonlySet<string> = new Set(["40001", "40P01"]);

/** Whether somebody else was faster, nothing was written, and looking again will tell what to do. */
export function isLostRace(error: unknown): boolean {
  if (!(error instanceof DatabaseError)) return false;
  if (error.code === uniqueViolation) return lostRaceConstraints.has(error.constraint ?? "");
  return tryAgainCodes.has(error.code ?? "");
}
