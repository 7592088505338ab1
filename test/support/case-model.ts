/*
 * What the design says a case service does, written down a second time: as tables and a dozen rules, apart from the
 * service and without a line of it. `play` puts one request to a world and says what must come back.
 */

export type Role = "caseworker" | "reviewer" | "supervisor" | "auditor";
export type State = "none" | "draft" | "submitted" | "under_review" | "approved" | "rejected" | "closed";
export type Action =
  | "create"
  | "update"
  | "submit"
  | "assign_reviewer"
  | "start_review"
  | "approve"
  | "reject"
  | "close";

interface Move {
  readonly role: Role;
  readonly from: readonly State[];
  readonly to: State;
  /** The last word of its event's type. */
  readonly told: string;
}

export const moves: Readonly<Record<Action, Move>> = {
  create: { role: "caseworker", from: ["none"], to: "draft", told: "created" },
  update: { role: "caseworker", from: ["draft"], to: "draft", told: "updated" },
  submit: { role: "caseworker", from: ["draft"], to: "submitted", told: "submitted" },
  assign_reviewer: { role: "supervisor", from: ["submitted"], to: "submitted", told: "reviewer_assigned" },
  start_review: { role: "reviewer", from: ["submitted"], to: "under_review", told: "review_started" },
  approve: { role: "reviewer", from: ["under_review"], to: "approved", told: "approved" },
  reject: { role: "reviewer", from: ["under_review"], to: "rejected", told: "rejected" },
  close: { role: "supervisor", from: ["approved", "rejected"], to: "closed", told: "closed" },
};

/** Who there is, in every tenant. */
export const cast = {
  ann: ["caseworker"],
  ben: ["caseworker", "reviewer"],
  rita: ["reviewer"],
  rob: ["reviewer"],
  sue: ["supervisor"],
  eve: ["caseworker", "reviewer", "supervisor"],
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
}

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
}

/** One step of a case, as history and audit trail tell it. */
export interface Step {
  readonly version: number;
  readonly action: Action;
  readonly from: State;
  readonly to: State;
  readonly who: Name;
  readonly reason: string;
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
  const { role, from, to } = moves[message.action];
  const refuse = (outcome: string) => ({ answer: { kind: "refused", outcome } as const, after: world });
  const roles: readonly Role[] = cast[who];
  if (!roles.includes(role)) return refuse("PermissionDenied FORBIDDEN");

  const earlier = world.applied.get(keyOf(request));
  if (earlier) {
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
  const objection = objectionTo(request, before);
  if (objection !== undefined) return refuse(objection);

  const facts = { ...before, ...changes(request, before), state: to, version: before.version + 1 };
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
};

/** Why this person may not do this, or not with this content. */
function objectionTo({ who, message }: Request, before: Facts): string | undefined {
  const blank = (text: string | undefined): boolean => (text ?? "").trim() === "";
  const own = who === before.submitter;
  switch (message.action) {
    case "update":
      return who === before.creator ? undefined : "PermissionDenied FORBIDDEN";
    case "submit":
      return blank(before.title) || blank(before.summary) || before.people.length === 0
        ? "InvalidArgument INVALID_REQUEST"
        : undefined;
    case "assign_reviewer":
      return message.reviewer === before.submitter ? "FailedPrecondition NOT_INDEPENDENT" : undefined;
    case "start_review":
      return who === before.reviewer ? undefined : "FailedPrecondition REVIEWER_REQUIRED";
    case "approve":
      return own ? "FailedPrecondition SELF_APPROVAL" : undefined;
    case "reject":
      if (own) return "FailedPrecondition SELF_APPROVAL";
      return blank(message.reason) ? "FailedPrecondition REASON_REQUIRED" : undefined;
    case "create":
    case "close":
      return undefined;
    default:
      return message.action satisfies never;
  }
}

/** What the action changes besides state and version. */
function changes({ who, message }: Request, before: Facts): Partial<Facts> {
  switch (message.action) {
    case "create":
      return { ...message.content, contentVersion: 1, creator: who };
    case "update": {
      const taken = Object.entries(message.content ?? {}).filter(([field]) =>
        message.fields?.includes(field as keyof Content),
      );
      return { ...Object.fromEntries(taken), contentVersion: before.contentVersion + 1 };
    }
    case "submit":
      return { submitter: who };
    case "assign_reviewer":
      return { reviewer: message.reviewer ?? "" };
    case "start_review":
      return { startedBy: who };
    case "approve":
      return { approvers: [...before.approvers, who] };
    case "reject":
      return { rejecter: who };
    case "close":
      return {};
    default:
      return message.action satisfies never;
  }
}
