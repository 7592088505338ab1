import { builtInPolicy, type Case, type Content } from "./case.ts";
import type { Circumstances, CommandOf } from "./command.ts";
import { accept, invalidTransition, isBlank, occurredAtOf, refuse, type Decision } from "./decision.ts";

export function create(command: CommandOf<"create">, by: Circumstances): Decision {
  const occurredAt = occurredAtOf(by);
  const policy = by.policy ?? builtInPolicy;
  const unborn: Case = {
    id: by.newCaseId,
    type: command.caseType,
    externalReference: command.externalReference,
    state: "draft",
    version: 0,
    content: command.content,
    contentVersion: 1,
    contentCommitment: by.commitTo(command.content),
    creatorId: by.personId,
    submitterId: undefined,
    submittedVersion: undefined,
    assignedReviewerId: undefined,
    reviewStartedById: undefined,
    reviewVersion: undefined,
    reviewRound: 0,
    approverIds: [],
    rejecterId: undefined,
    overrideProposal: undefined,
    overriderIds: [],
    overrideSpeakerIds: [],
    appeal: undefined,
    onHold: false,
    erased: false,
    policyVersion: policy.version,
    approvalsRequired: policy.approvalsRequired,
    appealWindowDays: policy.appealWindowDays,
    createdAt: by.at,
    updatedAt: by.at,
    occurredAt,
    decidedAt: undefined,
    overriddenAt: undefined,
  };
  return accept(unborn, by, { happened: "created", to: "draft" });
}

export function update(current: Case, command: CommandOf<"update">, by: Circumstances): Decision {
  if (by.personId !== current.creatorId) {
    return refuse("FORBIDDEN", { why: "only the creator of a draft may change it" });
  }
  // What was erased stays empty: the case has nothing to say any more.
  if (current.content === undefined) return invalidTransition("draft", "update");
  const given = command.content;
  const content: Content = {
    title: command.fields.includes("title") ? given.title : current.content.title,
    summary: command.fields.includes("summary") ? given.summary : current.content.summary,
    people: command.fields.includes("people") ? given.people : current.content.people,
  };
  return accept(current, by, {
    happened: "updated",
    to: "draft",
    change: {
      content,
      contentVersion: current.contentVersion + 1,
      contentCommitment: by.commitTo(content),
    },
  });
}

export function submit(current: Case, by: Circumstances): Decision {
  const { content } = current;
  if (content === undefined) return invalidTransition(current.state, "submit"); // Erased.
  const missing = [
    isBlank(content.title) ? "title" : "",
    isBlank(content.summary) ? "summary" : "",
    content.people.length === 0 ? "people" : "",
  ].filter((field) => field !== "");
  if (missing.length > 0) return refuse("INVALID_REQUEST", { missing: missing.join(",") });
  return accept(current, by, {
    happened: "submitted",
    to: "submitted",
    change: { submitterId: by.personId, submittedVersion: current.version + 1 },
  });
}
