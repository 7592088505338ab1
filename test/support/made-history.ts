import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { v7 } from "uuid";
import { ActorKind, type Event, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { decisionHash } from "#services/case/application/decision-hash.ts";
import { sha256 } from "./made-log.ts";

/*
 * Histories as a case service tells them, with no rule in it: whoever writes a history decides what is in it. What such a service does
 * by itself (sequence, chain, states, hashes, rounds) is filled in, and `changes` overrule it.
 */

export type Changes = Exclude<MessageInitShape<typeof EventSchema>, Event>;

export const madeTenant = "acme";
export const madeStartMs = Date.UTC(2026, 0, 5);
const minuteMs = 60_000;

/** Where an act leads; `undefined` leaves the state as it is. */
const acts = {
  created: ["draft", "caseworker"],
  updated: [undefined, "caseworker"],
  submitted: ["submitted", "caseworker"],
  reviewer_assigned: [undefined, "supervisor"],
  review_started: ["under_review", "reviewer"],
  approval_recorded: [undefined, "reviewer"],
  approved: ["approved", "reviewer"],
  rejected: ["rejected", "reviewer"],
  appealed: ["appealed", "caseworker"],
  appeal_review_started: ["appeal_under_review", "reviewer"],
  appeal_approved: ["appeal_approved", "reviewer"],
  appeal_rejected: ["appeal_rejected", "reviewer"],
  override_proposed: [undefined, "supervisor"],
  overridden: [undefined, "supervisor"],
  closed: ["closed", "supervisor"],
  held: [undefined, "operator"],
  hold_released: [undefined, "operator"],
  erased: [undefined, "operator"],
} as const satisfies Readonly<Record<string, readonly [string | undefined, string]>>;
export type Happened = keyof typeof acts;

const deciding = new Set<Happened>([
  ...(["approval_recorded", "approved", "rejected", "override_proposed", "overridden"] as const),
  ...(["appeal_approved", "appeal_rejected"] as const),
]);
const reasoned = new Set<Happened>([
  ...([
    "rejected",
    "appealed",
    "appeal_approved",
    "appeal_rejected",
    "override_proposed",
    "overridden",
  ] as const),
  ...(["held", "hold_released", "erased"] as const),
]);
const authorised = new Set<Happened>(["override_proposed", "overridden", "held", "hold_released", "erased"]);

/** Makes the events of one subject, each behind the one before. */
interface Chain {
  readonly subject: string;
  readonly entries: readonly Uint8Array[];
  append(changes: Changes): Uint8Array;
  /** What `append` would make; the history goes on without it. */
  encode(changes: Changes): Uint8Array;
  /** The next event is given up, and a tombstone stands in for it. Returns both. */
  bury(
    changes: Changes,
    tombstoneChanges?: Changes,
  ): { readonly original: Uint8Array; readonly tombstone: Uint8Array };
}

let ids = 0;

/** Ids that go up, so that every run makes the same order. */
function nextId(): string {
  ids += 1;
  return v7({ msecs: madeStartMs + ids });
}

export function makeChainOf(subject: string, common: Changes): Chain {
  const entries: Uint8Array[] = [];
  let previousDigest: Uint8Array | undefined;
  const encode = (changes: Changes): Uint8Array => {
    const atMs = madeStartMs + entries.length * minuteMs;
    const message = create(EventSchema, {
      eventId: nextId(),
      schemaVersion: 1,
      tenantId: madeTenant,
      subject,
      subjectSequence: BigInt(entries.length + 1),
      ...(previousDigest && { previousDigest }),
      occurredAt: timestampFromMs(atMs),
      recordedAt: timestampFromMs(atMs),
      ...common,
      ...changes,
    });
    return toBinary(EventSchema, message);
  };
  return {
    subject,
    entries,
    encode,
    append(changes) {
      const bytes = encode(changes);
      previousDigest = sha256(bytes);
      entries.push(bytes);
      return bytes;
    },
    bury(changes, tombstoneChanges = {}) {
      const originalEventId = nextId();
      const original = encode({ ...changes, eventId: originalEventId });
      const originalDigest = sha256(original);
      const reason = "the audit service would not take it";
      const actor = { id: "otto", kind: ActorKind.PERSON, roles: ["operator"] };
      const { fromState = "", toState = "" } = changes;
      const tombstone = encode({
        ...{ type: "caseflow.event.skipped", fromState, toState, actor, reason, policyVersion: 0 },
        tombstone: { originalDigest, originalEventId, reason },
        ...tombstoneChanges,
      });
      previousDigest = originalDigest;
      entries.push(tombstone);
      return { original, tombstone };
    },
  };
}

export interface MadeCase {
  readonly id: string;
  /** The events so far, in order. */
  readonly entries: readonly Uint8Array[];
  act(happened: Happened, who: string, changes?: Changes): Uint8Array;
  /** What `act` would make; the history goes on without it. */
  forge(happened: Happened, who: string, changes?: Changes): Uint8Array;
  /** As `act`, and the event is given up. */
  bury(happened: Happened, who: string, tombstoneChanges?: Changes): void;
}

export interface CaseOptions {
  readonly type?: string;
  readonly policyVersion?: number;
  readonly approvalsRequired?: number;
}

/** The events of one case. */
export function makeCase({
  type = "permit",
  policyVersion = 0,
  approvalsRequired = 1,
}: CaseOptions = {}): MadeCase {
  const id = nextId();
  const chain = makeChainOf(id, { source: "caseflow/case", subjectType: type, policyVersion });
  let state = "";
  let contentCommitment = sha256(`content of ${id}`);
  let reviewRound = 0;
  let reviewVersion = 0;

  function describe(happened: Happened, who: string): { changes: Changes; after: () => void } {
    const version = chain.entries.length + 1;
    const [target, role] = acts[happened];
    const other = state === "approved" ? "rejected" : "approved";
    const toState = happened === "overridden" ? other : (target ?? state);
    const begins = happened === "review_started" || happened === "appeal_review_started";
    const round = reviewRound + (begins ? 1 : 0);
    const commitment = happened === "updated" ? sha256(`content ${version} of ${id}`) : contentCommitment;
    const changes = {
      type: `caseflow.case.${happened}`,
      actor: { id: who, kind: ActorKind.PERSON, roles: [role] },
      fromState: state,
      toState,
      contentCommitment: commitment,
      reviewRound: round,
      ...(deciding.has(happened) && {
        decisionHash: decisionHash(madeTenant, id, reviewVersion, commitment),
        approvalsRequired,
      }),
      ...(reasoned.has(happened) && { reason: "as the file shows" }),
      ...(authorised.has(happened) && { legalAuthority: "section 12" }),
    };
    const after = (): void => {
      [state, contentCommitment, reviewRound] = [toState, commitment, round];
      if (begins) reviewVersion = version;
    };
    return { changes, after };
  }

  return {
    id,
    entries: chain.entries,
    act(happened, who, changes = {}) {
      const described = describe(happened, who);
      described.after();
      return chain.append({ ...described.changes, ...changes });
    },
    forge: (happened, who, changes = {}) => chain.encode({ ...describe(happened, who).changes, ...changes }),
    bury(happened, who, tombstoneChanges = {}) {
      const described = describe(happened, who);
      described.after();
      chain.bury(described.changes, tombstoneChanges);
    },
  };
}

/** Sets the first policy of a case type. */
export function makePolicy(type: string, changes: Changes = {}): Uint8Array {
  return makeChainOf(`policy/${type}`, { source: "caseflow/case" }).append({
    type: "caseflow.policy.set",
    actor: { id: "otto", kind: ActorKind.PERSON, roles: ["operator"] },
    toState: "in_force",
    reason: "the new by-law",
    subjectType: type,
    policyVersion: 1,
    approvalsRequired: 2,
    appealWindowDays: 14,
    ...changes,
  });
}
