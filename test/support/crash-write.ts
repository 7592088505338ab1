import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import type { CaseClient } from "#libs/client/case-client.ts";
import type { Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { content, openCase, type CaseServiceFixture, type PersonName } from "./case-service.ts";
import { within } from "./crash-points.ts";
import { refusalOf } from "./reason-of.ts";

/** A write to be attacked: how a case comes to where it can be made, who makes it, and what it leaves when it is made. */
export interface Write {
  readonly by: PersonName;
  readonly from: "draft" | "submitted" | "under_review" | undefined;
  send(client: CaseClient, message: WriteMessage, options: CallOptions): Promise<Answer>;
  /** What there is of it in the database once it took effect. */
  readonly effect: Traces;
}

interface WriteMessage {
  readonly requestId: string;
  readonly caseId: string;
}

type CallOptions = NonNullable<Parameters<CaseClient["submitCase"]>[1]>;
type Answer = { readonly case?: Case | undefined };

/** All that a write is to leave behind, and all that its case had before. */
export interface Traces {
  /** `undefined`: there is no such case. */
  readonly state: string | undefined;
  readonly version: number | undefined;
  readonly entries: number;
  readonly outboxRows: number;
  readonly answers: number;
  readonly contents: number;
  readonly approvals: number;
}

const one = { entries: 1, outboxRows: 1, answers: 1, contents: 0, approvals: 0 };
const none = { entries: 0, outboxRows: 0, answers: 0, contents: 0, approvals: 0 };

export const writes: Readonly<Record<"create" | "submit" | "approve", Write>> = {
  create: {
    by: "caseworker",
    from: undefined,
    send: (client, { requestId }, options) =>
      client.createCase({ requestId, caseType: "permit", content }, options),
    effect: { ...one, state: "draft", version: 1, contents: 1 },
  },
  submit: {
    by: "caseworker",
    from: "draft",
    send: (client, message, options) => client.submitCase(message, options),
    effect: { ...one, state: "submitted", version: 2 },
  },
  approve: {
    by: "reviewer",
    from: "under_review",
    send: (client, message, options) => client.approveCase(message, options),
    effect: { ...one, state: "approved", version: 5, approvals: 1 },
  },
};

/** A write on its way: made once, sent as often as need be. */
export interface Attempt {
  readonly tenant: string;
  readonly requestId: string;
  readonly write: Write;
  readonly message: WriteMessage;
  readonly before: Traces;
}

/** Takes a new case to where the write can be made. */
export async function prepare(
  cases: Pick<CaseServiceFixture, "as">,
  write: Write,
  tenant: string,
): Promise<Attempt> {
  const requestId = randomUUID();
  const caseId = write.from === undefined ? "" : await openCase(cases, write.from, tenant);
  const before =
    write.from === undefined
      ? { ...none, state: undefined, version: undefined }
      : { ...none, state: write.from, version: write.effect.version! - 1 }; // Every effect has a version.
  return { tenant, requestId, write, message: { requestId, caseId }, before };
}

/** What a call came to: `accepted`, or how it was refused; and whether it was an earlier answer given again. */
export interface Told {
  readonly outcome: string;
  readonly replayed: boolean;
  readonly version: number | undefined;
}

/** Sends the write once; longer than `callMs` takes no call. */
export async function send(client: CaseClient, { write, message }: Attempt, callMs: number): Promise<Told> {
  let replayed = false;
  const onHeader = (headers: Headers): void => void (replayed = headers.get("caseflow-replayed") === "true");
  const answer = write.send(client, message, { timeoutMs: callMs, onHeader });
  const outcome = await within(callMs + 2_000, `an answer to ${message.requestId}`, refusalOf(answer));
  const version = outcome === "accepted" ? (await answer).case?.version : undefined;
  return { outcome, replayed, version };
}

const retryPauseMs = 10;

/** The refusals after which a caller asks again: somebody or something was away, or too slow. */
const askAgain = /^(Unavailable|DeadlineExceeded) /;
const settleMs = 60_000;

/** Sends it until it is known what became of it. */
export async function settle(
  client: () => Promise<CaseClient>,
  attempt: Attempt,
  callMs: number,
): Promise<Told & { readonly tries: number }> {
  const until = performance.now() + settleMs;
  for (let tries = 1; ; tries++) {
    const told = await send(await client(), attempt, callMs);
    if (!askAgain.test(told.outcome) || performance.now() > until) return { ...told, tries };
    await pause(retryPauseMs);
  }
}

/** What there is of the write in the database. */
export async function tracesOf(superuser: pg.Client, attempt: Attempt): Promise<Traces> {
  return (await tracesOfAll(superuser, [attempt]))[0]!; // One for each.
}

/** What there is of each of the writes in the database, in their order. */
export async function tracesOfAll(
  superuser: pg.Client,
  attempts: readonly Attempt[],
): Promise<readonly Traces[]> {
  const { rows } = await superuser.query<
    Traces & { readonly state: string | null; readonly version: number | null }
  >(
    `SELECT traces.*
       FROM unnest($1::text[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS a (tenant, request, subject, position),
            LATERAL (
         WITH entry AS (SELECT * FROM audit_entries WHERE tenant_id = a.tenant AND request_id = a.request),
              found AS (SELECT * FROM cases c WHERE tenant_id = a.tenant
                          AND (case_id = a.subject OR case_id IN (SELECT case_id FROM entry)))
         SELECT (SELECT state FROM found) AS state,
                (SELECT version FROM found) AS version,
                (SELECT count(*)::int FROM entry) AS entries,
                (SELECT count(*)::int FROM outbox o JOIN entry e USING (tenant_id, event_id)) AS "outboxRows",
                (SELECT count(*)::int FROM recorded_answers
                  WHERE tenant_id = a.tenant AND request_id = a.request) AS answers,
                (SELECT count(*)::int FROM case_contents s JOIN entry e USING (tenant_id, case_id)
                  WHERE e.action IN ('create', 'update')) AS contents,
                (SELECT count(*)::int FROM approvals p JOIN entry e USING (tenant_id, case_id, version)) AS approvals
       ) AS traces
      ORDER BY a.position`,
    [
      attempts.map(({ tenant }) => tenant),
      attempts.map(({ requestId }) => requestId),
      attempts.map(({ message }) => (message.caseId === "" ? null : message.caseId)),
    ],
  );
  return rows.map((traces) => ({
    ...traces,
    state: traces.state ?? undefined,
    version: traces.version ?? undefined,
  }));
}
