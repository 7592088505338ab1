import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { createEventJudge, type Findings } from "#services/cli/verify/judge-events.ts";
import { type CaseOptions, makeCase, type MadeCase } from "./made-history.ts";

export const dayMs = 24 * 60 * 60 * 1_000;

/** What the verifier finds in a log of these entries. */
export function judgeEntries(entries: readonly Uint8Array[]): Findings {
  using events = createEventJudge("acme", { whole: true });
  for (const [leafIndex, bytes] of entries.entries()) events.add(leafIndex, bytes);
  return events.finish();
}

type Step = Parameters<MadeCase["act"]>;

/** The events of the case with these steps behind those it has. */
export function after(made: MadeCase, ...steps: readonly Step[]): readonly Uint8Array[] {
  for (const step of steps) made.act(...step);
  return made.entries;
}

/** Cases of this type need two approvals, under the policy that `makePolicy("two")` sets. */
export const twoOf: CaseOptions = { type: "two", policyVersion: 1, approvalsRequired: 2 };

export function created(): MadeCase {
  const made = makeCase();
  made.act("created", "ann");
  return made;
}

/** Created by ann, submitted by ben, and reviewed by rita: 5 events. */
export function underReview(options?: CaseOptions): MadeCase {
  const made = makeCase(options);
  made.act("created", "ann");
  made.act("updated", "ann");
  made.act("submitted", "ben");
  made.act("reviewer_assigned", "sue", { assigneeId: "rita" });
  made.act("review_started", "rita");
  return made;
}

export function approved(): MadeCase {
  const made = underReview();
  made.act("approved", "rita");
  return made;
}

/** Appealed by cleo, after sam would have overridden it. */
export function appealed(): MadeCase {
  const made = approved();
  made.act("override_proposed", "sam");
  made.act("appealed", "cleo");
  return made;
}

/** To its end: 11 events. */
export function appealDecided(): MadeCase {
  const made = appealed();
  made.act("appeal_review_started", "jo");
  made.act("appeal_rejected", "jo");
  made.act("closed", "sue");
  return made;
}

/** A change that happens at a time of its own. */
export const at = (ms: number) => ({ occurredAt: timestampFromMs(ms), recordedAt: timestampFromMs(ms) });

/** A program that acts for somebody. */
export const through = (onBehalfOf: string, role: string) => ({
  actor: { id: "bot", kind: ActorKind.SERVICE, roles: [role], onBehalfOf },
});

/** What another system tells of somebody. */
export const imported = (who: string, ms: number, recordedMs = ms + dayMs) => ({
  ...through(who, "importer"),
  occurredAt: timestampFromMs(ms),
  recordedAt: timestampFromMs(recordedMs),
});
