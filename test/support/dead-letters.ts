import { rm, writeFile } from "node:fs/promises";
import type pg from "pg";
import { expect } from "vitest";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { keptLog } from "./kept-output.ts";
import { buryEvent } from "#services/case/store/outbox.ts";
import { openRelay } from "#services/case/rpc/open-relay.ts";
import { startAuditService, type AuditServiceFixture } from "./audit-service.ts";
import { startCaseService, tenant, writeRelayToken, type CaseServiceFixture } from "./case-service.ts";
import { makeEvent } from "./events.ts";
import { openSuperuser } from "./superuser.ts";
import { createIssuer, type Issuer } from "./tokens.ts";

/** Both services, and relays between them that a test starts and stops: so it says which events are refused, and when. */
export interface DeadLetterStage extends AsyncDisposable {
  readonly issuer: Issuer;
  readonly cases: CaseServiceFixture;
  readonly audit: AuditServiceFixture;
  /** Of the case database. */
  readonly superuser: pg.Client;
  /** While it runs, events are delivered, or refused as SOURCE_NOT_ALLOWED. `auditUrl`: by another way than the straight one. */
  startRelay(how?: { readonly refused?: boolean; readonly auditUrl?: string }): Promise<AsyncDisposable>;
  /** Gives an event up that waits, as a relay would. */
  giveUp(eventId: string, reason?: string): Promise<void>;
  /** The id of an entry's event. */
  eventIdOf(caseId: string, version: number, of?: string): Promise<string>;
  /** Stores another source's event under the event's id, so that it will be refused as EVENT_ID_REUSED. */
  takeId(eventId: string, of?: string): Promise<void>;
  /** Hands the audit service an event's bytes, or a tombstone's, past the relay. */
  deliverPastRelay(eventId: string): Promise<void>;
  /** Waits until the subjects' dead letters are these, each as `subject version reason`. */
  untilDead(...told: readonly string[]): Promise<void>;
  /** Waits until nothing waits for delivery and nothing was given up. */
  untilDelivered(of?: string): Promise<void>;
  /** A subject's events as the audit service has them, oldest first. */
  trailOf(subject: string, of?: string): Promise<readonly AuditedEvent[]>;
}

const waits = { timeout: 15_000, interval: 10 };
const ownSource = "caseflow/case";

export async function startDeadLetterStage(): Promise<DeadLetterStage> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const audit = opened.use(await startAuditService({ issuer }));
  const cases = opened.use(await startCaseService({ issuer, config: { relay: "off" } }));
  const superuser = opened.use(await openSuperuser(cases.database.superuserUrl));
  const own = await audit.source([ownSource]);
  const squatter = await audit.source();
  const log = keptLog("relay-test");
  const running = opened.move();
  return {
    issuer,
    cases,
    audit,
    superuser,
    async startRelay({ refused = false, auditUrl = audit.url } = {}) {
      const auditTokenFile = await writeRelayToken(issuer);
      const claims = { sub: "case-relay", kind: "service", roles: ["event_source"] } as const;
      const sources = [refused ? "somebody/else" : ownSource];
      await writeFile(auditTokenFile, await issuer.token({ ...claims, sources }));
      const relayDatabaseUrl = cases.database.relayUrl;
      const relay = openRelay(
        { relayDatabaseUrl, auditUrl, auditTokenFile, relayPollMs: 50, logLevel: "silent" },
        log,
        () => new Date(),
      );
      return {
        async [Symbol.asyncDispose]() {
          await relay[Symbol.asyncDispose]();
          await rm(auditTokenFile);
        },
      };
    },
    giveUp: (eventId, reason) => giveUp(superuser, eventId, reason),
    async eventIdOf(caseId, version, of) {
      const text =
        "SELECT event_id FROM audit_entries WHERE case_id = $1 AND version = $2 AND tenant_id = coalesce($3, tenant_id)";
      const { rows } = await superuser.query<{ event_id: string }>(text, [caseId, version, of]);
      return rows[0]!.event_id;
    },
    async takeId(eventId, of = tenant) {
      await squatter.recordEvents({ events: [makeEvent({ eventId, tenantId: of }).bytes] });
    },
    async deliverPastRelay(eventId) {
      const text = `SELECT event FROM audit_entries WHERE event_id = $1 UNION ALL SELECT event FROM tombstones WHERE event_id = $1`;
      const { rows } = await superuser.query<{ event: Buffer }>(text, [eventId]);
      const { outcomes } = await own.recordEvents({ events: rows.map(({ event }) => event) });
      expect(outcomes.map(({ reason }) => reason)).toEqual([""]);
    },
    async untilDead(...told) {
      const ids = told.map((line) => line.split(" ")[0]);
      const text = `SELECT case_id || ' ' || version || ' ' || reason AS line FROM dead_letters WHERE case_id = ANY($1) ORDER BY 1`;
      const lines = async () =>
        (await superuser.query<{ line: string }>(text, [ids])).rows.map(({ line }) => line);
      await expect.poll(lines, { ...waits, message: "dead letters" }).toEqual(told.toSorted());
    },
    async untilDelivered(of = tenant) {
      const text = `SELECT event_id FROM outbox WHERE tenant_id = $1 UNION ALL SELECT event_id FROM dead_letters WHERE tenant_id = $1`;
      const left = async () => (await superuser.query(text, [of])).rowCount;
      await expect.poll(left, { ...waits, message: "undelivered" }).toBe(0);
    },
    async trailOf(subject, of = tenant) {
      const { events } = await (await audit.auditor(of)).listEvents({ filter: { subject }, pageSize: 500 });
      return events;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Gives an event up that waits, as a relay would. */
export async function giveUp(
  superuser: pg.Client,
  eventId: string,
  reason = "DELIVERY_FAILED",
): Promise<void> {
  const { rows } = await superuser.query<{ tenant_id: string; case_id: string; version: number }>(
    "SELECT tenant_id, case_id, version FROM outbox WHERE event_id = $1",
    [eventId],
  );
  const { tenant_id: tenantId, case_id: caseId, version } = rows[0]!;
  const event = { tenantId, eventId, caseId, version, traceparent: "", event: Buffer.of() };
  const { text, values } = buryEvent(event, reason, "the answer was lost", new Date());
  await superuser.query(text, [...values]);
}
