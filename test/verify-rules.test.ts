import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { builtInPolicy, type Case, type Policy } from "#services/case/domain/case.ts";
import type { Circumstances, Command } from "#services/case/domain/command.ts";
import { decide } from "#services/case/domain/decide.ts";
import { isAllowed } from "#services/case/domain/transitions.ts";
import { steps } from "#services/cli/verify/rules-steps.ts";
import { at, dayMs, judgeEntries } from "./support/made-cases.ts";
import {
  type Changes,
  type Happened,
  makeCase,
  makePolicy,
  type MadeCase,
  madeStartMs,
} from "./support/made-history.ts";
import { createRandom } from "./support/permit-file.ts";

/*
 * The verifier's rules are written apart from the service's. Here they are held against each other: on random histories the verifier
 * has nothing to say about what the service accepts, and finds out a service that lets pass what its rules refuse.
 */

interface Attempt {
  readonly made: MadeCase;
  readonly current: Case;
  readonly command: Command;
  readonly who: string;
  readonly atMs: number;
}

const policies: readonly Policy[] = [
  builtInPolicy,
  { version: 1, approvalsRequired: 2, appealWindowDays: 14 },
  { version: 1, approvalsRequired: 1, appealWindowDays: 0 },
];
const content = {
  title: "a boat house",
  summary: "at the quay",
  people: [{ name: "Ada", role: "owner", contact: "" }],
};
const people = ["ann", "ben", "rita", "rob", "sue"];
const attemptsPerCase = 40;

/** One command of each kind. */
function commandsOf(pick: <T>(of: readonly T[]) => T): readonly Command[] {
  const reason = pick(["as the file shows", "as the file shows", "for another reason", " "]);
  const legalAuthority = pick(["section 12", "section 12", "section 12", ""]);
  const custody = { reason, legalBasis: legalAuthority };
  return [
    { action: "submit" },
    { action: "update", content, fields: ["title"] },
    { action: "assign_reviewer", reviewerId: pick(people) },
    { action: "start_review" },
    { action: "approve", reason },
    { action: "reject", reason },
    { action: "appeal", grounds: reason },
    { action: "start_appeal_review" },
    { action: "approve_appeal", reason },
    { action: "reject_appeal", reason },
    { action: "override", target: pick(["approved", "rejected"]), reason, legalAuthority },
    { action: "close", reason },
    pick([
      { action: "place_hold", ...custody },
      { action: "release_hold", ...custody },
      { action: "erase", ...custody },
    ]),
  ];
}

/** Plays random attempts by the service's rules; each that is refused is told, with the history up to then. */
function play(
  random: () => number,
  policy: Policy,
  onRefusal: (attempt: Attempt, why: string) => void,
): MadeCase {
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
  const { version, approvalsRequired } = policy;
  const made = makeCase({ type: "some", policyVersion: version, approvalsRequired });
  let atMs = madeStartMs;
  const circumstances = (personId: string): Circumstances => ({
    personId,
    at: new Date(atMs),
    reportedAt: undefined,
    newCaseId: made.id,
    policy,
    commitTo: () => new Uint8Array(32),
  });
  const creation = { action: "create", caseType: "some", externalReference: "", content } as const;
  const created = decide(undefined, creation, undefined, circumstances("ann"));
  if (!created.accepted) throw new Error("a creation was refused");
  made.act("created", "ann", at(atMs));
  let current = created.next;
  for (let attempt = 0; attempt < attemptsPerCase; attempt += 1) {
    atMs += pick([0, 0, 0, 10, 20]) * dayMs;
    const { state } = current;
    const commands = commandsOf(pick);
    const fitting = commands.filter(({ action }) => isAllowed(state, action));
    const command = pick(random() < 0.25 ? commands : fitting); // Otherwise few would get far.
    const who = pick(people);
    const decision = decide(current, command, undefined, circumstances(who));
    if (!decision.accepted) {
      onRefusal({ made, current, command, who, atMs }, decision.reason);
      continue;
    }
    const { happened, reason, legalAuthority, assigneeId } = decision;
    made.act(happened as Happened, who, { ...at(atMs), reason, legalAuthority, assigneeId });
    current = decision.next;
  }
  return made;
}

/** The event of a service without rules. */
function forge({ made, current, command, who, atMs }: Attempt): Uint8Array {
  const { happened, ...changes } = tell(current, command);
  return made.forge(happened, who, { ...at(atMs), ...changes });
}

function tell(current: Case, command: Command): Changes & { readonly happened: Happened } {
  switch (command.action) {
    case "create":
      return { happened: "created" };
    case "update":
      return { happened: "updated" };
    case "submit":
      return { happened: "submitted" };
    case "assign_reviewer":
      return { happened: "reviewer_assigned", assigneeId: command.reviewerId };
    case "start_review":
      return { happened: "review_started" };
    case "approve": {
      const decides = current.approverIds.length + 1 >= current.approvalsRequired;
      return { happened: decides ? "approved" : "approval_recorded", reason: command.reason };
    }
    case "reject":
      return { happened: "rejected", reason: command.reason };
    case "appeal":
      return { happened: "appealed", reason: command.grounds };
    case "start_appeal_review":
      return { happened: "appeal_review_started" };
    case "approve_appeal":
      return { happened: "appeal_approved", reason: command.reason };
    case "reject_appeal":
      return { happened: "appeal_rejected", reason: command.reason };
    case "override": {
      const { reason, legalAuthority } = command;
      const { overrideProposal: proposal } = current;
      const agrees = proposal?.reason === reason && proposal.legalAuthority === legalAuthority;
      return { happened: agrees ? "overridden" : "override_proposed", reason, legalAuthority };
    }
    case "close":
      return { happened: "closed", reason: command.reason };
    case "place_hold":
      return { happened: "held", reason: command.reason, legalAuthority: command.legalBasis };
    case "release_hold":
      return { happened: "hold_released", reason: command.reason, legalAuthority: command.legalBasis };
    case "erase":
      return { happened: "erased", reason: command.reason, legalAuthority: command.legalBasis };
    default:
      return command satisfies never;
  }
}

function logOf(policy: Policy, entries: readonly Uint8Array[]): readonly Uint8Array[] {
  return policy.version === 0 ? entries : [...entries, makePolicy("some", { ...policy, policyVersion: 1 })];
}

test("what the service's rules accept, the verifier holds nothing against", () => {
  const random = createRandom(7);
  const seen = new Set<string>();
  for (let run = 0; run < 400; run += 1) {
    const policy = policies[run % policies.length]!;
    const { entries } = play(random, policy, () => undefined);
    for (const entry of entries) seen.add(fromBinary(EventSchema, entry).type.replace("caseflow.case.", ""));
    expect(judgeEntries(logOf(policy, entries)).first).toBeUndefined();
  }
  expect([...seen].toSorted((a, b) => a.localeCompare(b))).toEqual(
    Object.keys(steps).toSorted((a, b) => a.localeCompare(b)),
  );
});

test("what they refuse and a service lets pass, the verifier finds", () => {
  const random = createRandom(11);
  const seen = new Map<string, number>();
  for (let run = 0; run < 300; run += 1) {
    const policy = policies[run % policies.length]!;
    play(random, policy, (attempt, why) => {
      const { command, current, made, who } = attempt;
      // The target is not told apart in an event: it is the other decision.
      if (command.action === "override" && command.target === current.state) return;
      const kind = `${why} ${command.action} ${current.state}`;
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
      if (seen.get(kind)! > 2) return; // Enough of that kind.
      const { first } = judgeEntries(logOf(policy, [...made.entries, forge(attempt)]));
      expect(first, `${who}: ${JSON.stringify(command)}`).toMatchObject({
        kind: "rule",
        place: { leafIndex: made.entries.length },
      });
    });
  }
  const reasons = new Set(Array.from(seen.keys(), (kind) => kind.split(" ")[0]));
  expect(reasons).toEqual(
    new Set([
      ...["ALREADY_APPROVED", "APPEAL_WINDOW_CLOSED", "CASE_ON_HOLD", "FORBIDDEN", "INVALID_TRANSITION"],
      ...["NOT_INDEPENDENT", "REASON_REQUIRED", "REVIEWER_REQUIRED", "SELF_APPROVAL"],
    ]),
  );
  expect(seen.size).toBeGreaterThan(100);
});
