/*
 * What the design says a case service does, written down a second time: as tables and a dozen rules, apart from the
 * service and without a line of it. `play` puts one request to a world and says what must come back.
 */

export type Role = "caseworker" | "reviewer" | "supervisor" | "operator" | "auditor";
export type State =
  | "none"
  | "draft"
  | "submitted"
  | "under_review"
  | "approved"
  | "rejected"
  | "appealed"
  | "appeal_under_review"
  | "appeal_approved"
  | "appeal_rejected"
  | "closed";

interface Move {
  readonly role: Role;
  readonly from: readonly State[];
  /** The last word of its event's type; one of these. */
  readonly told: readonly string[];
}

const decided = ["approved", "rejected"] as const;
const existing = [
  ...["draft", "submitted", "under_review", ...decided, "appealed", "appeal_under_review"],
  ...["appeal_approved", "appeal_rejected", "closed"],
] as readonly State[];

export const moves = {
  create: { role: "caseworker", from: ["none"], told: ["created"] },
  update: { role: "caseworker", from: ["draft"], told: ["updated"] },
  submit: { role: "caseworker", from: ["draft"], told: ["submitted"] },
  assign_reviewer: { role: "supervisor", from: ["submitted"], told: ["reviewer_assigned"] },
  start_review: { role: "reviewer", from: ["submitted"], told: ["review_started"] },
  approve: { role: "reviewer", from: ["under_review"], told: ["approved", "approval_recorded"] },
  reject: { role: "reviewer", from: ["under_review"], told: ["rejected"] },
  appeal: { role: "caseworker", from: decided, told: ["appealed"] },
  start_appeal_review: { role: "reviewer", from: ["appealed"], told: ["appeal_review_started"] },
  approve_appeal: { role: "reviewer", from: ["appeal_under_review"], told: ["appeal_approved"] },
  reject_appeal: { role: "reviewer", from: ["appeal_under_review"], told: ["appeal_rejected"] },
  override: { role: "supervisor", from: decided, told: ["override_proposed", "overridden"] },
  close: { role: "supervisor", from: [...decided, "appeal_approved", "appeal_rejected"], told: ["closed"] },
  place_hold: { role: "operator", from: existing, told: ["held"] },
  release_hold: { role: "operator", from: existing, told: ["hold_released"] },
  erase: { role: "operator", from: existing, told: ["erased"] },
} as const satisfies Readonly<Record<string, Move>>;
export type Action = keyof typeof moves;

/** How many must approve, by case type: the second has a policy that says so. */
export const approvalsByType = { permit: 1, two_person_permit: 2 } as const;
export type CaseType = keyof typeof approvalsByType;

/** Who there is, in every tenant. */
export const cast = {
  ann: ["caseworker"],
  ben: ["caseworker", "reviewer"],
  rita: ["reviewer"],
  rob: ["reviewer"],
  jo: ["reviewer"],
  sue: ["supervisor"],
  sam: ["supervisor", "reviewer"],
  eve: ["caseworker", "reviewer", "supervisor"],
  otto: ["operator"],
  aud: ["auditor"],
} as const satisfies Record<string, readonly Role[]>;
export type Name = keyof typeof cast;

export interface Content {
  readonly title: string;
  readonly summary: string;
  /** Their names. */
  readonly people: readonly string[];
}

/** What is asked, whoever asks and under whatever request id. A case is known by its key, see `keyOf`. */
export interface Message {
  readonly action: Action;
  /** Absent for a creation. */
  readonly caseKey?: string;
  readonly expectedVersion?: number;
  readonly content?: Content;
  /** Of an update: which fields of the content it takes. */
  readonly fields?: readonly (keyof Content)[];
  readonly reviewer?: Name;
  readonly reason?: string;
  /** The law invoked. */
  readonly law?: string;
  /** Of a creation. */
  readonly caseType?: CaseType;
  /** Of an override. */
  readonly target?: Target;
}
export type Target = "approved" | "rejected";

export interface Request {
  readonly tenant: string;
  readonly who: Name;
  readonly requestId: string;
  readonly message: Message;
}

/** What a caller can see of a case. */
export interface Facts extends Content {
  readonly state: State;
  readonly version: number;
  readonly contentVersion: number;
  readonly creator: string;
  readonly submitter: string;
  readonly reviewer: string;
  readonly startedBy: string;
  readonly approvers: readonly string[];
  readonly rejecter: string;
  readonly required: number;
  readonly proposal: { readonly who: string; readonly target: Target; readonly words: string } | "none";
  /** Whoever overrode last, proposer first. */
  readonly overriders: readonly string[];
  readonly appellant: string;
  readonly judge: string;
  readonly appealOutcome: State;
  readonly held: boolean;
  readonly erased: boolean;
}

/** One step of a case, as history and audit trail tell it. */
export interface Step {
  readonly version: number;
  readonly action: Action;
  readonly from: State;
  readonly to: State;
  readonly who: Name;
  readonly reason: string;
  readonly law: string;
  readonly assignee: string;
  readonly requestId: string;
}

export type Answer =
  | { readonly kind: "accepted"; readonly caseKey: string; readonly facts: Facts; readonly replayed: boolean }
  | { readonly kind: "refused"; readonly outcome: string };

export interface KnownCase {
  readonly tenant: string;
  readonly facts: Facts;
  readonly steps: readonly Step[];
}

export interface World {
  /** By case key. */
  readonly cases: ReadonlyMap<string, KnownCase>;
  /** What each request id did, by `keyOf` the request. */
  readonly applied: ReadonlyMap<
    string,
    { readonly message: string; readonly caseKey: string; readonly facts: Facts }
  >;
}

export function emptyWorld(): World {
  return { cases: new Map(), applied: new Map() };
}

/** Names the request: the same id of another person or tenant is another request. A case is named after its creation. */
export function keyOf({ tenant, who, requestId }: Request): string {
  return `${tenant}/${who}/${requestId}`;
}

/**
 * What the service must answer to `request` in `world`, and the world after it: the same one, unless the request has an
 * effect. In this order: role, earlier use of the request id, whether the case is there (in this tenant), version, state,
 * person, content.
 */
export function play(world: World, request: Request): { readonly answer: Answer; readonly after: World } {
  const { message, tenant, who } = request;
  const { role, from }: Move = moves[message.action];
  const refuse = (outcome: string) => ({ answer: { kind: "refused", outcome } as const, after: world });
  const roles: readonly Role[] = cast[who];
  if (!roles.includes(role)) return refuse("PermissionDenied FORBIDDEN");

  const earlier = world.applied.get(keyOf(request));
  if (earlier) {
    // What a case answered before it was erased is gone with its content.
    const erasure = world.cases.get(earlier.caseKey)?.steps.find(({ action }) => action === "erase");
    if (erasure && erasure.version > earlier.facts.version) {
      return refuse("AlreadyExists REQUEST_ALREADY_APPLIED");
    }
    if (earlier.message !== JSON.stringify(message)) return refuse("InvalidArgument REQUEST_ID_REUSED");
    const { caseKey, facts } = earlier;
    return { answer: { kind: "accepted", caseKey, facts, replayed: true }, after: world };
  }

  const caseKey = message.caseKey ?? keyOf(request);
  const found = world.cases.get(caseKey);
  if (message.caseKey !== undefined && found?.tenant !== tenant) return refuse("NotFound CASE_NOT_FOUND");
  const before = found?.facts ?? unborn;
  if (message.expectedVersion !== undefined && message.expectedVersion !== before.version) {
    return refuse("Aborted VERSION_MISMATCH");
  }
  if (!from.includes(before.state)) return refuse("FailedPrecondition INVALID_TRANSITION");
  const objection = objectionTo(request, before, found?.steps ?? []);
  if (objection !== undefined) return refuse(objection);

  const facts = { ...before, ...changes(request, before), version: before.version + 1 };
  const steps = [...(found?.steps ?? []), stepOf(request, before, facts)];
  return {
    answer: { kind: "accepted", caseKey, facts, replayed: false },
    after: {
      cases: new Map(world.cases).set(caseKey, { tenant, facts, steps }),
      applied: new Map(world.applied).set(keyOf(request), {
        message: JSON.stringify(message),
        caseKey,
        facts,
      }),
    },
  };
}

function stepOf({ who, requestId, message }: Request, before: Facts, facts: Facts): Step {
  return {
    version: facts.version,
    action: message.action,
    from: before.state,
    to: facts.state,
    who,
    reason: message.reason ?? "",
    law: message.law ?? "",
    assignee: message.reviewer ?? "",
    requestId,
  };
}

/** What is known of a case that is not there yet. */
export const unborn: Facts = {
  state: "none",
  version: 0,
  title: "",
  summary: "",
  people: [],
  contentVersion: 0,
  creator: "",
  submitter: "",
  reviewer: "",
  startedBy: "",
  approvers: [],
  rejecter: "",
  required: 0,
  proposal: "none",
  overriders: [],
  appellant: "",
  judge: "",
  appealOutcome: "none",
  held: false,
  erased: false,
};

/** Why this person may not do this, or not with this content. */
function objectionTo({ who, message }: Request, before: Facts, steps: readonly Step[]): string | undefined {
  const wrong = (why: string): string => `FailedPrecondition ${why}`;
  const blank = (text: string | undefined): boolean => (text ?? "").trim() === "";
  const own = who === before.submitter;
  const unfounded = blank(message.reason) || blank(message.law);
  switch (message.action) {
    case "update":
      if (who !== before.creator) return "PermissionDenied FORBIDDEN";
      return before.erased ? wrong("INVALID_TRANSITION") : undefined;
    case "submit":
      return blank(before.title) || blank(before.summary) || before.people.length === 0
        ? "InvalidArgument INVALID_REQUEST"
        : undefined;
    case "assign_reviewer":
      return message.reviewer === before.submitter ? wrong("NOT_INDEPENDENT") : undefined;
    case "start_review":
      return who === before.reviewer ? undefined : wrong("REVIEWER_REQUIRED");
    case "approve": {
      if (own) return wrong("SELF_APPROVAL");
      if (before.approvers.includes(who)) return wrong("ALREADY_APPROVED");
      const completes = before.required === 2 && before.approvers.length === 1;
      return completes && who === before.startedBy ? wrong("NOT_INDEPENDENT") : undefined;
    }
    case "reject":
      if (own) return wrong("SELF_APPROVAL");
      return blank(message.reason) ? wrong("REASON_REQUIRED") : undefined;
    case "appeal":
      return blank(message.reason) ? wrong("REASON_REQUIRED") : undefined;
    case "start_appeal_review": {
      const involved = ["submit", "start_review", "approve", "reject", "override", "appeal"];
      const tookPart = steps.some((step) => step.who === who && involved.includes(step.action));
      return tookPart || who === before.reviewer ? wrong("NOT_INDEPENDENT") : undefined;
    }
    case "approve_appeal":
    case "reject_appeal":
      if (who !== before.judge) return wrong("REVIEWER_REQUIRED");
      return blank(message.reason) ? wrong("REASON_REQUIRED") : undefined;
    case "override":
      if (own) return wrong("SELF_APPROVAL");
      if (unfounded) return wrong("REASON_REQUIRED");
      if (message.target === before.state) return wrong("INVALID_TRANSITION");
      return seconds(message, before) === who ? wrong("ALREADY_APPROVED") : undefined;
    case "place_hold":
      if (unfounded) return wrong("REASON_REQUIRED");
      if (before.held) return wrong("CASE_ON_HOLD");
      return before.erased ? wrong("INVALID_TRANSITION") : undefined;
    case "release_hold":
      if (unfounded) return wrong("REASON_REQUIRED");
      return before.held ? undefined : wrong("INVALID_TRANSITION");
    case "erase":
      if (unfounded) return wrong("REASON_REQUIRED");
      if (before.held) return wrong("CASE_ON_HOLD");
      return before.erased ? wrong("INVALID_TRANSITION") : undefined;
    case "create":
    case "close":
      return undefined;
    default:
      return message.action satisfies never;
  }
}

const wordsOf = ({ reason, law }: Message): string => `${reason} (${law})`;

/** Whose proposal an override repeats word for word; nobody's, and it is a proposal itself. */
function seconds(message: Message, { proposal }: Facts): string | undefined {
  if (proposal === "none") return undefined;
  return proposal.target === message.target && proposal.words === wordsOf(message) ? proposal.who : undefined;
}

/** What the action changes besides the version. */
function changes({ who, message }: Request, before: Facts): Partial<Facts> {
  switch (message.action) {
    case "create": {
      const required = approvalsByType[message.caseType ?? "permit"];
      return { ...message.content, state: "draft", contentVersion: 1, creator: who, required };
    }
    case "update": {
      const taken = Object.entries(message.content ?? {}).filter(([field]) =>
        message.fields?.includes(field as keyof Content),
      );
      return { ...Object.fromEntries(taken), contentVersion: before.contentVersion + 1 };
    }
    case "submit":
      return { state: "submitted", submitter: who };
    case "assign_reviewer":
      return { reviewer: message.reviewer ?? "" };
    case "start_review":
      return { state: "under_review", startedBy: who };
    case "approve": {
      const approvers = [...before.approvers, who];
      return { approvers, ...(approvers.length === before.required && { state: "approved" }) };
    }
    case "reject":
      return { state: "rejected", rejecter: who };
    case "appeal":
      return { state: "appealed", appellant: who, proposal: "none" };
    case "start_appeal_review":
      return { state: "appeal_under_review", startedBy: who, judge: who };
    case "approve_appeal":
      return { state: "appeal_approved", appealOutcome: "appeal_approved" };
    case "reject_appeal":
      return { state: "appeal_rejected", appealOutcome: "appeal_rejected" };
    case "override": {
      const target = message.target ?? "approved";
      const proposer = seconds(message, before);
      if (proposer === undefined) return { proposal: { who, target, words: wordsOf(message) } };
      return { state: target, proposal: "none", overriders: [proposer, who] };
    }
    case "close":
      return { state: "closed", proposal: "none" };
    case "place_hold":
      return { held: true };
    case "release_hold":
      return { held: false };
    case "erase":
      return { erased: true, title: "", summary: "", people: [] };
    default:
      return message.action satisfies never;
  }
}
