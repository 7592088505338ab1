import { randomUUID } from "node:crypto";
import {
  cast,
  moves,
  unborn,
  type Action,
  type KnownCase,
  type Message,
  type Name,
  type Request,
  type Role,
  type State,
  type Target,
  type World,
} from "./case-model.ts";
import type { Call } from "./case-model-commands.ts";

/** Makes the request that a drawn call stands for, as the world is now. */
export function resolveCall(
  call: Call,
  tenants: readonly [string, string],
  world: World,
  sent: readonly Request[],
): Request {
  const earlier = call.id.kind === "new" ? undefined : pick(sent.toReversed(), call.id.index);
  if (earlier && call.id.kind === "again") return earlier;
  const tenant = tenants[call.tenant];
  const requestId = earlier?.requestId ?? randomUUID();
  const cases = [...world.cases].filter(
    ([, found]) => call.target.of === "foreign" || found.tenant === tenant,
  );
  const [caseKey, found] = pick(cases, call.target.index) ?? [];
  const { who, action } = {
    any: () => call,
    apt: () => aptMove(call, found),
    onward: () => onwardMove(call, found),
    meddle: () => ({ ...onwardMove(call, found), who: meddler(call, found) }),
  }[call.aim]();
  if (action === "create") {
    return { tenant, who, requestId, message: { action, caseType: call.caseType, content: call.content } };
  }
  const version = found?.facts.version ?? 1;
  const offsets = { right: 0, behind: -1, ahead: 1 };
  const expectedVersion = call.version === "none" ? undefined : Math.max(1, version + offsets[call.version]);
  const message: Message = {
    action,
    caseKey: call.target.of === "unknown" ? randomUUID() : (caseKey ?? randomUUID()),
    ...(expectedVersion !== undefined && { expectedVersion }),
    ...(action === "update" && { content: call.content, fields: call.fields }),
    ...(action === "assign_reviewer" && { reviewer: call.reviewer }),
    ...(reasoned.has(action) && { reason: call.reason }),
    ...(founded.has(action) && { law: "Act 1, s. 2" }),
    ...(action === "override" && { target: targetOf(call, found) }),
  };
  return { tenant, who, requestId, message };
}

const founded: ReadonlySet<Action> = new Set<Action>(["override", "place_hold", "release_hold", "erase"]);
const reasoned: ReadonlySet<Action> = new Set<Action>([
  ...["approve", "reject", "appeal", "approve_appeal", "reject_appeal", "close", ...founded],
] as Action[]);

/** Mostly the other decision. */
function targetOf(call: Call, found: KnownCase | undefined): Target {
  const other = found?.facts.state === "approved" ? "rejected" : "approved";
  if (call.target.index < 5) return other;
  return other === "approved" ? "rejected" : "approved";
}

interface Choice {
  readonly who: Name;
  readonly action: Action;
}

/** An action that the case's state allows, and somebody with its role. */
function aptMove(call: Call, found: KnownCase | undefined): Choice {
  const state = found?.facts.state ?? "none";
  const all = Object.keys(moves) as Action[]; // Its own keys.
  const action =
    pick(
      all.filter((one) => (moves[one].from as readonly State[]).includes(state)),
      call.target.index,
    ) ?? "create";
  return { action, who: somebody(moves[action].role, call) };
}

/** The action that takes the case further, and somebody who may. */
function onwardMove(call: Call, found: KnownCase | undefined): Choice {
  const { state, creator, submitter, reviewer, judge, proposal, ...content } = found?.facts ?? unborn;
  const reviews = (cast as Partial<Record<string, readonly Role[]>>)[reviewer]?.includes("reviewer") ?? false;
  switch (state) {
    case "none":
    case "closed":
      return { action: "create", who: somebody("caseworker", call) };
    case "draft": {
      const complete = content.title.trim() && content.summary.trim() && content.people.length > 0;
      if (complete) return { action: "submit", who: somebody("caseworker", call) };
      return { action: "update", who: creator as Name }; // One of the cast created it.
    }
    case "submitted":
      if (reviews) return { action: "start_review", who: reviewer as Name }; // `reviews` has just looked.
      return { action: "assign_reviewer", who: somebody("supervisor", call) };
    case "under_review":
      return {
        action: call.action === "reject" ? "reject" : "approve",
        who: somebody("reviewer", call, submitter),
      };
    case "approved":
    case "rejected": {
      if (call.action === "close") return { action: "close", who: somebody("supervisor", call) };
      if (proposal !== "none") return { action: "override", who: somebody("supervisor", call, proposal.who) };
      if (call.target.index % 2 === 0)
        return { action: "override", who: somebody("supervisor", call, submitter) };
      return { action: "appeal", who: somebody("caseworker", call) };
    }
    case "appealed":
      return { action: "start_appeal_review", who: somebody("reviewer", call, reviewer) };
    case "appeal_under_review":
      return {
        action: call.target.index % 2 === 0 ? "approve_appeal" : "reject_appeal",
        who: judge as Name, // One of the cast began to review.
      };
    case "appeal_approved":
    case "appeal_rejected":
      return { action: "close", who: somebody("supervisor", call) };
    default:
      return state satisfies never;
  }
}

/** Somebody who had to do with the case. */
function meddler(call: Call, found: KnownCase | undefined): Name {
  const { submitter, creator, reviewer, startedBy, approvers, rejecter, overriders } = found?.facts ?? unborn;
  const people = [submitter, creator, reviewer, startedBy, ...approvers, rejecter, ...overriders];
  const involved = people.filter((name) => name !== "") as Name[]; // Of the cast.
  return pick(involved, call.id.index) ?? call.who;
}

/** Somebody with a role, other than `but`. */
function somebody(role: Role, call: Call, but = ""): Name {
  const people = Object.entries(cast) as [Name, readonly Role[]][]; // Its own entries.
  const fitting = people.filter(([name, roles]) => roles.includes(role) && name !== but);
  return pick(fitting, call.id.index)?.[0] ?? call.who;
}

/** The one at `index`, counting round; `undefined` only when there is none. */
function pick<T>(items: readonly T[], index: number): T | undefined {
  return items[index % Math.max(1, items.length)];
}
