import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { startAuditService } from "./support/audit-service.ts";
import { content, openCase, startCaseService } from "./support/case-service.ts";
import { freePort } from "./support/free-port.ts";
import { listAllEvents } from "./support/pair.ts";
import { createIssuer } from "./support/tokens.ts";

const writesMax = 1_000;

test(
  "1,000 writes made while the audit service is away all succeed; back again, it has each event once and in order",
  { timeout: 120_000 },
  async () => {
    await using issuer = await createIssuer();
    const port = await freePort();
    await using cases = await startCaseService({
      issuer,
      auditUrl: `http://127.0.0.1:${port}`,
      config: { relayPollMs: 100 },
    });

    const caseworker = await cases.as("caseworker");
    let writes = 0;
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        while (writes < writesMax) {
          writes += 2;
          const created = await caseworker.createCase({
            requestId: randomUUID(),
            caseType: "permit",
            content,
          });
          await caseworker.submitCase({ requestId: randomUUID(), caseId: created.case!.caseId });
        }
      }),
    );
    await openCase(cases, "closed");

    await using audit = await startAuditService({ issuer, config: { port } });
    const listEvents = () => listAllEvents(audit.url, issuer);
    await expect
      .poll(async () => (await listEvents()).length, { timeout: 60_000 })
      .toBeGreaterThanOrEqual(writes + 6);
    const events = await listEvents();
    expect(events).toHaveLength(writes + 6);
    expect(events.map(({ leafIndex }) => leafIndex)).toEqual(events.map((_, index) => BigInt(index)));
    const sequences = Map.groupBy(events, ({ event }) => event!.subject);
    for (const [, ofCase] of sequences) {
      expect(ofCase.map(({ event }) => event!.subjectSequence)).toEqual(
        ofCase.map((_, index) => BigInt(index + 1)),
      );
    }
  },
);
