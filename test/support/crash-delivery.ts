import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { expect } from "vitest";
import { keepOutput, keptLog } from "./kept-output.ts";
import { openRelay } from "#services/case/rpc/open-relay.ts";
import { openCase, startCaseService, writeRelayToken, type CaseServiceFixture } from "./case-service.ts";
import { strikeMs, type Fault } from "./crash-attack.ts";
import { expectAudited, expectDrained } from "./crash-audited.ts";
import { http2Protocol, postgresProtocol } from "./crash-messages.ts";
import { within, type Point, type Struck } from "./crash-points.ts";
import { startCrashProxy, type ArmedStrike, type CrashProxy, type Message } from "./crash-proxy.ts";
import { auditSettings, startKillable } from "./crash-victims.ts";
import { listenerOf, throughProxy } from "./cutting-proxy.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type AuditDatabase } from "./databases.ts";
import { processEnv } from "./process-env.ts";
import { openSuperuser } from "./superuser.ts";
import type { Issuer } from "./tokens.ts";

/** A case service without a relay, an audit service, and the two ways that a relay between them uses. */
export interface DeliveryStage extends AsyncDisposable {
  readonly issuer: Issuer;
  readonly cases: CaseServiceFixture;
  readonly audit: { readonly url: string; readonly database: AuditDatabase };
  readonly toDatabase: CrashProxy;
  readonly toAudit: CrashProxy;
  /** Kills the audit service. */
  readonly killAudit: Fault;
}

/** A relay that is attacked. */
interface Relay extends AsyncDisposable {
  /** Ends it at once. */
  kill(): Promise<void>;
}

export interface DeliveryAttack {
  readonly fault: (stage: DeliveryStage, relay: () => Relay) => Fault;
  /** The way whose messages are counted. */
  readonly way: "toDatabase" | "toAudit";
  readonly startRelay: (stage: DeliveryStage) => Promise<Relay>;
  /** Which of its messages; without it, all. */
  readonly counts?: (message: Message) => boolean;
  /** Whether the relay must get over it by itself; otherwise another one goes on. */
  readonly survives: boolean;
  /** Makes what is to be delivered; without it, two transitions of a case. */
  readonly prepare?: (stage: DeliveryStage) => Promise<unknown>;
  /** Does what is left to do so that all can be delivered. */
  readonly settle?: (stage: DeliveryStage) => Promise<unknown>;
}

export async function startDeliveryStage(issuer: Issuer): Promise<DeliveryStage> {
  await using opened = new AsyncDisposableStack();
  const database = opened.use(await cloneAuditDatabase());
  const cases = opened.use(
    await startCaseService({
      issuer,
      database: opened.use(await cloneCaseDatabase()),
      config: { relay: "off" },
    }),
  );
  const toDatabase = opened.use(await startCrashProxy(postgresProtocol, listenerOf(cases.database.relayUrl)));
  const toAudit = opened.use(await startCrashProxy(http2Protocol, { host: "127.0.0.1", port: 1 }));
  const { url, kill } = opened.use(
    await startKillable(toAudit, "services/audit/main.ts", auditSettings(database.appUrl, issuer)),
  );
  const aim = (): void => void (toAudit.target = { host: "127.0.0.1", port: Number(new URL(url()).port) });
  aim();
  const running = opened.move();
  return {
    issuer,
    cases,
    audit: {
      get url() {
        return url();
      },
      database,
    },
    toDatabase,
    toAudit,
    killAudit: {
      strike: (struck) => kill.strike(struck),
      async recover() {
        await kill.recover();
        aim();
      },
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

const pollMs = 100;

/** In this process; it cannot be killed, but cut off. */
export async function startRelayHere(stage: DeliveryStage): Promise<Relay> {
  const log = keptLog("relay-test");
  const config = {
    relayDatabaseUrl: throughProxy(stage.cases.database.relayUrl, stage.toDatabase),
    auditUrl: `http://127.0.0.1:${stage.toAudit.port}`,
    auditTokenFile: await writeRelayToken(stage.issuer),
    relayPollMs: pollMs,
    logLevel: "silent",
  } as const;
  const relay = openRelay(config, log, () => new Date());
  return { kill: () => Promise.reject(new Error("it is in this process")), ...relay };
}

/** A process of its own. */
export async function startRelayProcess(stage: DeliveryStage): Promise<Relay> {
  const child = spawn(
    process.execPath,
    ["--import", "./libs/telemetry/register.ts", "services/case/relay/main.ts"],
    {
      env: {
        ...processEnv,
        CASE_RELAY_DATABASE_URL: throughProxy(stage.cases.database.relayUrl, stage.toDatabase),
        AUDIT_URL: `http://127.0.0.1:${stage.toAudit.port}`,
        AUDIT_TOKEN_FILE: await writeRelayToken(stage.issuer),
        RELAY_POLL_MS: String(pollMs),
        LOG_LEVEL: "info",
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on("line", keepOutput);
  const ended = once(child, "exit");
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await within(strikeMs, "the end of the relay", ended);
  };
  return {
    async kill() {
      await end("SIGKILL");
      stage.toDatabase.cutAll(); // The kernel has closed its sockets already, and tells us in time.
      stage.toAudit.cutAll();
    },
    [Symbol.asyncDispose]: () => end("SIGTERM"),
  };
}

/**
 * Lets a new relay deliver what was prepared and stop, and the fault strike at the point of all that it says and is
 * told; checks that no transition is lost on the way, and in the end that each is one event.
 */
export async function attackDelivery(
  stage: DeliveryStage,
  attack: DeliveryAttack,
  point: Point,
): Promise<Struck> {
  const { cases, audit, issuer } = stage;
  await (attack.prepare?.(stage) ?? openCase(cases, "submitted"));
  let relay: Relay | undefined;
  const fault = attack.fault(stage, () => relay!); // It strikes when the relay has said something.
  const strike = stage[attack.way].arm({
    ...point,
    counts: attack.counts ?? (() => true),
    act: (struck) => fault.strike(struck),
  });
  relay = await attack.startRelay(stage);
  {
    await using _relay = relay;
    await untilStruckOrDrained(stage, strike);
    if (strike.struckAt !== undefined) {
      await within(strikeMs, `the strike at ${strike.struckAt}`, strike.over);
      await expectNoneLost(stage);
      await fault.recover();
      if (attack.survives) await expectDrained(cases.database);
    }
  }
  strike.disarm();
  if (strike.struckAt !== undefined) await within(strikeMs, `the strike at ${strike.struckAt}`, strike.over);
  await attack.settle?.(stage);
  await expectAudited({ database: cases.database, audit, issuer });
  return strike.struckAt;
}

async function untilStruckOrDrained({ cases }: DeliveryStage, strike: ArmedStrike): Promise<void> {
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const isOver = async () =>
    strike.struckAt !== undefined || (await superuser.query("SELECT FROM outbox")).rowCount === 0;
  await expect.poll(isOver, { timeout: 60_000, interval: 5, message: "delivered, or struck" }).toBe(true);
}

/** What is neither in the outbox nor given up, the audit service has: the event of an entry, or its tombstone. */
async function expectNoneLost({ cases, audit }: DeliveryStage): Promise<void> {
  await using ofCases = await openSuperuser(cases.database.superuserUrl);
  await using ofAudit = await openSuperuser(audit.database.superuserUrl);
  const { rows } = await ofCases.query<{ event_id: string }>(
    `SELECT coalesce(t.event_id, e.event_id) AS event_id
       FROM audit_entries e LEFT JOIN tombstones t USING (tenant_id, case_id, version)
      WHERE (e.tenant_id, e.case_id, e.version) NOT IN (
        SELECT tenant_id, case_id, version FROM outbox UNION ALL SELECT tenant_id, case_id, version FROM dead_letters)`,
  );
  const acknowledged = rows.map(({ event_id }) => event_id);
  const known = await ofAudit.query("SELECT FROM events WHERE event_id = ANY ($1)", [acknowledged]);
  expect(known.rowCount, "acknowledged events that the audit service has").toBe(acknowledged.length);
}
