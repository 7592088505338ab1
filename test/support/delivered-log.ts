import { expect } from "vitest";
import type { AuditServiceFixture } from "./audit-service.ts";
import { makeCase } from "./made-history.ts";

/* A log that is the real service's: its events are delivered, and the command reads it. */

const source = "caseflow/case";
const batchMax = 50;

/** Settings of the command for whoever reads the service's log and, with role `event_source`, gives it back. */
export async function commandEnvOf(
  service: AuditServiceFixture,
  roles: readonly string[] = ["auditor"],
): Promise<Record<string, string>> {
  const who = { tenant: "acme", sub: "keeper", kind: "service" } as const;
  const token = await service.issuer.token({ ...who, roles, sources: [source] });
  return { AUDIT_URL: service.url, CASEFLOW_TOKEN: token };
}

export async function deliver(service: AuditServiceFixture, events: readonly Uint8Array[]): Promise<void> {
  const client = await service.source([source]);
  for (let at = 0; at < events.length; at += batchMax) {
    const batch = events.slice(at, at + batchMax);
    const { outcomes } = await client.recordEvents({ events: batch });
    expect(outcomes.map(({ reason }) => reason)).toEqual(batch.map(() => ""));
  }
}

/** One event each. */
export function newCases(count: number): Uint8Array[] {
  return Array.from({ length: count }, () => makeCase().act("created", "ann"));
}
