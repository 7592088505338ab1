import { createHash } from "node:crypto";
import type pg from "pg";
import { expect } from "vitest";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseAction } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import type { HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import {
  moves,
  type Action,
  type Facts,
  type Name,
  type State,
  type Step,
  type World,
} from "./case-model.ts";
import { factsOf, nameOf, stateOf, type ModelServices } from "./case-model-services.ts";
import { listAllEvents } from "./pair.ts";
import { openSuperuser } from "./superuser.ts";

/** All that is left of some tenants' cases, wherever it is told. */
export interface Remains {
  /** By the model's name of the case: what GetCase, GetCaseHistory and the audit service's log say of it. */
  readonly cases: Readonly<
    Record<
      string,
      { readonly facts: Facts; readonly history: readonly Step[]; readonly trail: readonly Step[] }
    >
  >;
  /** What does not fit together in the audit service's log. */
  readonly faults: readonly string[];
  /** Rows in the case database. */
  readonly rows: Readonly<Record<string, number>>;
}

const deliveryMs = 10_000;

/** What must be left of a world in which so many policies were set before. */
export function remainsOf(world: World, policies: number): Remains {
  const cases = [...world.cases].map(
    ([key, { facts, steps }]) => [key, { facts, history: steps, trail: steps }] as const,
  );
  const steps = cases.flatMap(([, { history }]) => history);
  return {
    cases: Object.fromEntries(cases),
    faults: [],
    rows: {
      cases: cases.length,
      case_policies: policies,
      kept_contents: cases
        .filter(([, { facts }]) => !facts.erased)
        .reduce((sum, [, { facts }]) => sum + facts.contentVersion, 0),
      case_contents: steps.filter(({ action }) => action === "create" || action === "update").length,
      audit_entries: steps.length + policies,
      approvals: steps.filter(({ action }) => action === "approve").length,
      recorded_answers: steps.length + policies,
      outbox: 0,
      dead_letters: 0,
    },
  };
}

/** What is left, once everything was delivered. Throws when it is not within ten seconds. */
export async function readRemains(
  services: ModelServices,
  tenants: readonly string[],
  caseIds: ReadonlyMap<string, string>,
): Promise<Remains> {
  const { client, token, audit, issuer } = services;
  await using superuser = await openSuperuser(services.database.superuserUrl);
  const countRows = () => rowsOf(superuser, tenants);
  await expect
    .poll(async () => (await countRows())["outbox"], { timeout: deliveryMs, interval: 10, message: "outbox" })
    .toBe(0);
  const logs = await Promise.all(tenants.map((tenant) => listAllEvents(audit.url, issuer, tenant)));
  const cases = [...caseIds].map(async ([key, caseId]) => {
    const [tenant = ""] = key.split("/");
    const options = { headers: { authorization: `Bearer ${await token(tenant, "aud")}` } };
    const { case: found } = await client.getCase({ caseId }, options);
    const { entries } = await client.getCaseHistory({ caseId }, options);
    const trail = logs.flat().filter(({ event }) => event?.subject === caseId);
    return [
      key,
      { facts: factsOf(found!), history: entries.map(entryToStep), trail: trail.map(eventToStep) },
    ] as const;
  });
  return {
    cases: Object.fromEntries(await Promise.all(cases)),
    faults: logs.flatMap((log) => [...gapsOf(log), ...breaksOf(log)]),
    rows: await countRows(),
  };
}

async function rowsOf(superuser: pg.Client, tenants: readonly string[]): Promise<Record<string, number>> {
  const tables = Object.keys(remainsOf({ cases: new Map(), applied: new Map() }, 0).rows);
  const kept = "case_contents WHERE content IS NOT NULL AND";
  const counts = tables.map((name) => {
    const rows = name === "kept_contents" ? kept : `${name} WHERE`;
    return `(SELECT count(*)::int FROM ${rows} tenant_id = ANY($1)) AS ${name}`;
  });
  const { rows } = await superuser.query<Record<string, number>>(`SELECT ${counts.join(", ")}`, [tenants]);
  return rows[0]!; // One, without a FROM.
}

function entryToStep(entry: HistoryEntry): Step {
  return {
    version: entry.version,
    action: nameOf(CaseAction, entry.action) as Action, // Equal by name.
    from: stateOf(entry.fromState),
    to: stateOf(entry.toState),
    who: entry.actor?.id as Name, // One of the cast, or the comparison says so.
    reason: entry.reason,
    law: entry.legalAuthority,
    assignee: entry.assigneeId,
    requestId: entry.requestId,
  };
}

function eventToStep({ event }: AuditedEvent): Step {
  const told = event?.type.replace(/^caseflow\.case\./, "") ?? "";
  const [action] = Object.entries(moves).find(([, move]) => move.told.some((word) => word === told)) ?? [
    told,
  ];
  return {
    version: Number(event?.subjectSequence),
    action: action as Action, // Or the comparison says so.
    from: (event?.fromState || "none") as State,
    to: event?.toState as State,
    who: event?.actor?.id as Name,
    reason: event?.reason ?? "",
    law: event?.legalAuthority ?? "",
    assignee: event?.assigneeId ?? "",
    requestId: event?.requestId ?? "",
  };
}

/** Leaf indexes must count from 0 without a gap. */
function gapsOf(log: readonly AuditedEvent[]): string[] {
  return log.flatMap(({ leafIndex }, index) =>
    leafIndex === BigInt(index) ? [] : [`leaf ${leafIndex} where ${index} was due`],
  );
}

/** Each event must name the digest of its subject's event before, and have a later id. */
function breaksOf(log: readonly AuditedEvent[]): string[] {
  const subjects = Map.groupBy(log, ({ event }) => event?.subject);
  return [...subjects.values()].flatMap((events) =>
    events.flatMap(({ event, eventBytes }, index) => {
      const before = events[index - 1];
      const digest = before ? createHash("sha256").update(before.eventBytes).digest("hex") : "";
      const named = Buffer.from(event?.previousDigest ?? []).toString("hex");
      if (eventBytes.length === 0) return [`event ${event?.eventId} has no bytes`];
      if (named !== digest) return [`event ${event?.eventId} names another event before it`];
      if (before?.event && before.event.eventId >= event!.eventId)
        return [`event ${event?.eventId} has an earlier id`];
      return [];
    }),
  );
}
