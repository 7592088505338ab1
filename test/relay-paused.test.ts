import { expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { readConfig, readRelayConfig } from "#services/case/config.ts";
import { openCase, people, type PersonName, tenant, writeRelayToken } from "./support/case-service.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { listAllEvents } from "./support/pair.ts";
import { startProcessPair } from "./support/process-pair.ts";
import { scrape } from "./support/scrape.ts";
import { startServiceProcess } from "./support/service-process.ts";
import { openSuperuser } from "./support/superuser.ts";
import { untilDelivered } from "./support/until-delivered.ts";

expectNoLeaks();

test.each(["1", "true", "TRUE"])(
  "RELAY_PAUSED=%s pauses the relay of either process, and absent does not",
  (value) => {
    const relay = { CASE_RELAY_DATABASE_URL: "postgresql://case_relay@db/case", AUDIT_TOKEN_FILE: "token" };
    const env = {
      ...relay,
      CASE_DATABASE_URL: "postgresql://case_app@db/case",
      CASEFLOW_JWKS: "keys.json",
      CASEFLOW_JWT_ISSUER: "i",
      CASEFLOW_JWT_AUDIENCE: "a",
    };
    expect(readRelayConfig(relay).relayPaused).toBe(false);
    expect(readConfig(env).relay?.relayPaused).toBe(false);
    expect(readRelayConfig({ ...relay, RELAY_PAUSED: value }).relayPaused).toBe(true);
    expect(readConfig({ ...env, RELAY_PAUSED: value }).relay?.relayPaused).toBe(true);
  },
);

test(
  "a paused relay, in process or alone, holds no lane and delivers nothing; writes go on, and it all arrives in order later",
  { timeout: 120_000 },
  async () => {
    await using pair = await startProcessPair({ RELAY_PAUSED: "true" });
    const { caseDatabase, audit, issuer } = pair;
    const env = {
      CASE_RELAY_DATABASE_URL: caseDatabase.relayUrl,
      AUDIT_URL: audit.url,
      AUDIT_TOKEN_FILE: await writeRelayToken(issuer),
    };
    const main = "services/case/relay/main.ts";
    await using alone = await startServiceProcess(main, { ...env, RELAY_PAUSED: "true" });
    await using clients = new AsyncDisposableStack();
    const as = async (person: PersonName) => {
      const token = await issuer.token({ tenant, sub: person, roles: people[person] });
      return clients.use(createCaseClient({ url: pair.cases.url, token }));
    };
    for (let made = 0; made < 3; made++) await openCase({ as }, "closed");

    const pending = async () => (await scrape(pair.cases.metricsUrl)).sum("outbox_pending");
    await expect.poll(pending).toBe(18);
    await using superuser = await openSuperuser(caseDatabase.superuserUrl);
    const held = await superuser.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'caseflow-relay-locks'
      UNION ALL
     SELECT FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database()`,
    );
    expect(held.rowCount).toBe(0);
    expect(await listAllEvents(audit.url, issuer)).toEqual([]);
    for (const { lines } of [pair.cases, alone]) {
      expect(lines.filter((line) => line.includes("the relay is paused"))).toHaveLength(1);
    }

    expect(await alone.end("SIGTERM")).toBe(0);
    await using _delivering = await startServiceProcess(main, env);
    await untilDelivered(caseDatabase);
    const events = await listAllEvents(audit.url, issuer);
    for (const [subject, ofCase] of Map.groupBy(events, ({ event }) => event!.subject)) {
      expect(
        ofCase.map(({ event }) => event!.subjectSequence),
        subject,
      ).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
    }
    expect(events).toHaveLength(18);
  },
);
