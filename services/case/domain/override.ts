import type { Case } from "./case.ts";
import type { Circumstances, CommandOf } from "./command.ts";
import { accept, invalidTransition, isBlank, occurredAtOf, refuse, type Decision } from "./decision.ts";

/**
 * Two supervisors, one after the other, with the same target, reason and legal authority. The first proposes; another
 * one with the same words carries it out. Other words replace the proposal, whoever they come from, so that the two need
 * not agree at the first try. The submitter is never one of the two.
 */
export function override(current: Case, command: CommandOf<"override">, by: Circumstances): Decision {
  const { target, reason, legalAuthority } = command;
  const { personId } = by;
  if (personId === current.submitterId) return refuse("SELF_APPROVAL");
  if (isBlank(reason) || isBlank(legalAuthority)) return refuse("REASON_REQUIRED");
  if (target === current.state) return invalidTransition(current.state, "override");
  const proposal = current.overrideProposal;
  const agrees =
    proposal?.target === target && proposal.reason === reason && proposal.legalAuthority === legalAuthority;
  if (agrees && proposal.proposerId === personId) return refuse("ALREADY_APPROVED");
  const said = {
    reason,
    legalAuthority,
    decidesReviewAt: current.reviewVersion,
    spokeBefore:
      current.approverIds.includes(personId) ||
      current.rejecterId === personId ||
      current.overrideSpeakerIds.includes(personId),
  };
  const overrideSpeakerIds = [...new Set([...current.overrideSpeakerIds, personId])];
  if (!agrees) {
    return accept(current, by, {
      ...said,
      happened: "override_proposed",
      to: current.state,
      change: {
        overrideSpeakerIds,
        overrideProposal: {
          proposerId: personId,
          target,
          reason,
          legalAuthority,
          version: current.version + 1,
        },
      },
    });
  }
  return accept(current, by, {
    ...said,
    happened: "overridden",
    to: target,
    completes: { version: proposal.version, personId: proposal.proposerId },
    change: {
      overrideSpeakerIds,
      overrideProposal: undefined,
      overriderIds: [proposal.proposerId, personId],
      overriddenAt: occurredAtOf(by),
    },
  });
}
