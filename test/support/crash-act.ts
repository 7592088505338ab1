import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { expect } from "vitest";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { openCase } from "./case-service.ts";
import { allowed, strikeMs, type WriteStage } from "./crash-attack.ts";
import { within, type Point, type Struck } from "./crash-points.ts";
import type { Message } from "./crash-proxy.ts";
import { giveUp } from "./dead-letters.ts";
import { refusalOf } from "./reason-of.ts";
import { openSuperuser } from "./superuser.ts";

/** An operator's act on one dead letter, and what it leaves. */
export interface Act {
  send(
    admin: CaseAdminClient,
    request: ActRequest,
    options: { readonly onHeader: (headers: Headers) => void },
  ): Promise<unknown>;
  readonly effect: ActTraces;
}

interface ActRequest {
  readonly requestId: string;
  readonly eventId: string;
}

/** All that there is in the database of a dead letter and of the act on it. */
interface ActTraces {
  readonly deadLetters: number;
  readonly queued: number;
  readonly tombstones: number;
  readonly acts: number;
  readonly actsQueued: number;
  readonly answers: number;
}

const before: ActTraces = { deadLetters: 1, queued: 0, tombstones: 0, acts: 0, actsQueued: 0, answers: 0 };
const after: ActTraces = { deadLetters: 0, queued: 1, tombstones: 0, acts: 1, actsQueued: 1, answers: 1 };

export const acts: Readonly<Record<"redrive" | "skip", Act>> = {
  redrive: {
    send: (admin, { requestId, eventId }, options) =>
      admin.redriveDeadLetters({ requestId, eventIds: [eventId] }, options),
    effect: after,
  },
  skip: {
    send: (admin, request, options) =>
      admin.skipDeadLetter({ ...request, reason: "it cannot be told" }, options),
    effect: { ...after, tombstones: 1 },
  },
};

const settleMs = 60_000;
const retryPauseMs = 10;

/**
 * Makes an act on a new dead letter, lets the fault strike at the point of the messages that `counts` lets through, and checks that
 * the act is there whole or not at all, and that a retry settles it.
 */
export async function attackAct(
  stage: WriteStage,
  act: Act,
  point: Point,
  counts: (message: Message) => boolean = () => true,
): Promise<Struck> {
  const { victim, fault, tenant } = stage;
  await using superuser = await openSuperuser(stage.superuserUrl);
  const caseId = await openCase(victim, "submitted", tenant);
  const event = await superuser.query<{ event_id: string }>(
    "SELECT event_id FROM audit_entries WHERE case_id = $1 AND version = 1",
    [caseId],
  );
  const request = { requestId: randomUUID(), eventId: event.rows[0]!.event_id };
  await giveUp(superuser, request.eventId);
  const traces = async () => {
    const { rows } = await superuser.query<ActTraces>(tracesOf, [tenant, caseId, request.requestId]);
    return rows[0]!; // One, always.
  };
  const send = async () => {
    let replayed = false;
    const onHeader = (headers: Headers): void =>
      void (replayed = headers.get("caseflow-replayed") === "true");
    const outcome = await refusalOf(act.send(await victim.admin(tenant), request, { onHeader }));
    return { outcome, replayed };
  };

  const strike = victim.proxy.arm({
    ...point,
    counts: (message) => message.opening.includes(`app.tenant_id = '${tenant}'`) && counts(message),
    act: (struck) => fault.strike(struck),
  });
  const told = await send();
  const { struckAt } = strike;
  if (struckAt === undefined) {
    strike.disarm();
    expect(told).toEqual({ outcome: "accepted", replayed: false });
    return undefined;
  }
  await within(strikeMs, `the strike at ${struckAt}`, strike.over);
  await fault.recover();

  const left = await traces();
  expect([before, act.effect], `left behind at ${struckAt}`).toContainEqual(left);
  expect(allowed, `told at ${struckAt}`).toContain(told.outcome);
  const isDone = left.acts === 1;
  if (told.outcome === "accepted") expect(isDone, `${struckAt}: told that it is done`).toBe(true);
  if (told.outcome.endsWith("DEPENDENCY_DOWN"))
    expect(isDone, `${struckAt}: told that it is not`).toBe(false);

  let settled = await send();
  for (const until = performance.now() + settleMs; settled.outcome.startsWith("Unavailable ");) {
    expect(performance.now(), `a retry after ${struckAt}`).toBeLessThan(until);
    await pause(retryPauseMs);
    settled = await send();
  }
  expect(settled.outcome, `a retry after ${struckAt}`).toBe("accepted");
  if (isDone) expect(settled.replayed, `a retry after ${struckAt}`).toBe(true);
  expect(await traces(), `settled after ${struckAt}`).toEqual(act.effect);
  return `${struckAt}: ${isDone ? "done" : "not done"}`;
}

const tracesOf = `
  WITH act AS (SELECT * FROM audit_entries WHERE tenant_id = $1 AND request_id = $3)
  SELECT (SELECT count(*)::int FROM dead_letters WHERE tenant_id = $1 AND case_id = $2) AS "deadLetters",
         (SELECT count(*)::int FROM outbox WHERE tenant_id = $1 AND case_id = $2 AND version = 1) AS queued,
         (SELECT count(*)::int FROM tombstones WHERE tenant_id = $1 AND case_id = $2) AS tombstones,
         (SELECT count(*)::int FROM act) AS acts,
         (SELECT count(*)::int FROM outbox JOIN act USING (tenant_id, event_id)) AS "actsQueued",
         (SELECT count(*)::int FROM recorded_answers WHERE tenant_id = $1 AND request_id = $3) AS answers`;
