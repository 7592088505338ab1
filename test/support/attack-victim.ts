import { canaries } from "./canaries.ts";
import { randomUUID } from "node:crypto";
import { createCaseClient } from "#libs/client/case-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { content, openCase, setPolicy, tenant as victim } from "./case-service.ts";
import { makeEvent } from "./events.ts";
import type { Pair } from "./pair.ts";
import { patientLimits } from "./bare-limits.ts";

/** Names and words that nobody but the victim uses, by what they are. */
export const victims = {
  creator: "victoria",
  "on behalf of": "vincent",
  reviewer: "virginia",
  auditor: "valentin",
  correlation: "victims-undertaking",
  reference: "V-4711",
  type: "victims_own_type",
  source: "victims/source",
  "type of event": "victims.thing.changed",
  title: canaries.secretTitle,
} as const;

/** The victim's cases. */
export interface VictimsCases {
  /** Took its whole life, and refuses everything. */
  readonly closed: string;
  /** Waits for its review. */
  readonly assigned: string;
  /** Drafts that do nothing. */
  readonly idle: readonly string[];
}

/** Makes what the victim has: cases whose people, words and requests are nobody else's, an event of another source, and an auditor. */
export async function makeVictimsThings({ cases, audit }: Pair): Promise<VictimsCases> {
  const closed = await openCase(cases, "closed");
  const token = await cases.issuer.token({
    tenant: victim,
    sub: victims.creator,
    kind: "service",
    roles: ["caseworker", "supervisor"],
    onBehalfOf: victims["on behalf of"],
  });
  await using client = createCaseClient({ url: cases.url, token, limits: patientLimits });
  const named = { headers: { "x-correlation-id": victims.correlation } };
  const created = await client.createCase(
    {
      requestId: randomUUID(),
      caseType: victims.type,
      externalReference: victims.reference,
      content: { ...content, title: victims.title },
    },
    named,
  );
  const caseId = created.case!.caseId;
  await client.submitCase({ requestId: randomUUID(), caseId }, named);
  const supervisor = await cases.as("supervisor");
  await supervisor.assignReviewer({ requestId: randomUUID(), caseId, reviewerId: victims.reviewer });

  await setPolicy(cases, victims.type, victim);

  const source = await audit.source([victims.source]);
  const told = makeEvent({ source: victims.source, type: victims["type of event"], tenantId: victim });
  await source.recordEvents({ events: [told.bytes] });
  const idle = [await openCase(cases, "draft"), await openCase(cases, "draft")];
  const auditor = await audit.withToken({ tenant: victim, sub: victims.auditor, roles: ["auditor"] });
  await auditor.listEvents({});
  return { closed, assigned: caseId, idle };
}

/** What names something of the victim's and nothing of anybody else's, by what it is. */
export function namesOf(
  { closed, assigned, idle }: VictimsCases,
  events: readonly AuditedEvent[],
): Record<string, string | number> {
  const { title: _, ...names } = victims;
  const ofClosed = events.flatMap(({ event }) => (event?.subject === closed ? [event] : []));
  const ofPolicy = events.flatMap(({ event }) => (event?.type === "caseflow.policy.set" ? [event] : []));
  return {
    closed,
    "assigned in capitals": assigned.toUpperCase(),
    event: ofClosed[0]?.eventId ?? "",
    "case of a dead letter": idle[0] ?? "",
    ...Object.fromEntries(
      idle.map((caseId, index) => [
        `dead letter ${index + 1}`,
        events.find(({ event }) => event?.subject === caseId)?.event?.eventId ?? "",
      ]),
    ),
    ...Object.fromEntries(
      [...ofClosed, ...ofPolicy].map(({ type, requestId }) => [`request of ${type}`, requestId]),
    ),
    ...names,
    "leaf index": events.length - 1,
  };
}
