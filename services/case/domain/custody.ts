import type { Case } from "./case.ts";
import type { Circumstances, CustodyCommand } from "./command.ts";
import { accept, invalidTransition, isBlank, refuse, type Decision } from "./decision.ts";

/** A hold forbids erasure and nothing else. What was erased cannot be held. */
export function placeHold(current: Case, command: CustodyCommand, by: Circumstances): Decision {
  if (isUnfounded(command)) return refuse("REASON_REQUIRED");
  if (current.onHold) return refuse("CASE_ON_HOLD");
  if (current.erased) return invalidTransition(current.state, "place_hold");
  return accept(current, by, { ...saidBy(command, current), happened: "held", change: { onHold: true } });
}

export function releaseHold(current: Case, command: CustodyCommand, by: Circumstances): Decision {
  if (isUnfounded(command)) return refuse("REASON_REQUIRED");
  if (!current.onHold) return invalidTransition(current.state, "release_hold");
  return accept(current, by, {
    ...saidBy(command, current),
    happened: "hold_released",
    change: { onHold: false },
  });
}

/** Content and salts go; commitment, people who decided, reasons and every event stay. */
export function erase(current: Case, command: CustodyCommand, by: Circumstances): Decision {
  if (isUnfounded(command)) return refuse("REASON_REQUIRED");
  if (current.onHold) return refuse("CASE_ON_HOLD");
  if (current.erased) return invalidTransition(current.state, "erase");
  return accept(current, by, {
    ...saidBy(command, current),
    happened: "erased",
    change: { erased: true, content: undefined },
  });
}

function isUnfounded({ reason, legalBasis }: CustodyCommand): boolean {
  return isBlank(reason) || isBlank(legalBasis);
}

function saidBy({ reason, legalBasis }: CustodyCommand, { state }: Case) {
  return { to: state, reason, legalAuthority: legalBasis };
}
