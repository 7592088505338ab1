import { appeal, decideAppeal, startAppealReview } from "./appeal.ts";
import type { Case } from "./case.ts";
import type { Circumstances, Command } from "./command.ts";
import { erase, placeHold, releaseHold } from "./custody.ts";
import { accept, invalidTransition, refuse, type Decision, type Refused } from "./decision.ts";
import { create, submit, update } from "./draft.ts";
import { override } from "./override.ts";
import { approve, assignReviewer, reject, startReview } from "./review.ts";
import { isAllowed } from "./transitions.ts";

/**
 * Decides whether `command` may happen to `current` (`undefined`: there is no case yet). Pure.
 *
 * Staleness is judged before state, so that a caller holding an old version is told to read again rather than told
 * about a state it has never seen; state before person and content.
 */
export function decide(
  current: Case | undefined,
  command: Command,
  expectedVersion: number | undefined,
  by: Circumstances,
): Decision {
  const misdated = judgeTime(current, by);
  if (current === undefined) {
    if (command.action !== "create") return invalidTransition("none", command.action);
    return misdated ?? create(command, by);
  }
  if (expectedVersion !== undefined && expectedVersion !== current.version) {
    return refuse("VERSION_MISMATCH", { current_version: String(current.version) });
  }
  if (misdated) return misdated;
  if (!isAllowed(current.state, command.action)) return invalidTransition(current.state, command.action);
  switch (command.action) {
    case "create":
      return invalidTransition(current.state, "create");
    case "update":
      return update(current, command, by);
    case "submit":
      return submit(current, by);
    case "assign_reviewer":
      return assignReviewer(current, command.reviewerId, by);
    case "start_review":
      return startReview(current, by);
    case "approve":
      return approve(current, command.reason, by);
    case "reject":
      return reject(current, command.reason, by);
    case "appeal":
      return appeal(current, command.grounds, by);
    case "start_appeal_review":
      return startAppealReview(current, by);
    case "approve_appeal":
      return decideAppeal(current, "appeal_approved", command.reason, by);
    case "reject_appeal":
      return decideAppeal(current, "appeal_rejected", command.reason, by);
    case "override":
      return override(current, command, by);
    case "close":
      return accept(current, by, {
        happened: "closed",
        to: "closed",
        reason: command.reason,
        change: { overrideProposal: undefined },
      });
    case "place_hold":
      return placeHold(current, command, by);
    case "release_hold":
      return releaseHold(current, command, by);
    case "erase":
      return erase(current, command, by);
    default:
      return command satisfies never;
  }
}

/**
 * What another system reports must have happened, and not before what the case has already: a history in which it came
 * later would be another than the one that the decisions since then were made on.
 */
function judgeTime(current: Case | undefined, { reportedAt, at }: Circumstances): Refused | undefined {
  if (reportedAt === undefined) return undefined;
  const field = "origin.occurred_at";
  if (reportedAt > at) return refuse("INVALID_REQUEST", { field, description: "must not lie ahead" });
  if (current !== undefined && reportedAt < current.occurredAt) {
    const description = `must not be before ${current.occurredAt.toISOString()}, when the case last changed`;
    return refuse("INVALID_REQUEST", { field, description });
  }
  return undefined;
}
