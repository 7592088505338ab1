import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { probeDatabase } from "#libs/pg/health-probe.ts";
import { openPool } from "#libs/pg/pool.ts";
import { checkConnectionBudget } from "#libs/service/connection-budget.ts";
import { limitConnections } from "#libs/service/limit-calls.ts";
import type { Release } from "#libs/service/release.ts";
import { runService } from "#libs/service/run-service.ts";
import { openProbes } from "#libs/service/open-probes.ts";
import { serve } from "#libs/service/serve.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { createAccessLog } from "./application/access-log.ts";
import { createAppendFeed } from "./application/append-feed.ts";
import { createCheckEvent } from "./application/check-event.ts";
import { createExportEvents } from "./application/export-events.ts";
import { createLoggedReads } from "./application/logged-reads.ts";
import { createReadAccesses } from "./application/read-accesses.ts";
import { createReadEvents } from "./application/read-events.ts";
import { createListHeads } from "./application/list-heads.ts";
import { createReadProofs } from "./application/read-proofs.ts";
import { createRecordEvents } from "./application/record-events.ts";
import { createTailEvents, type TailLimits } from "./application/tail-events.ts";
import { readConfig, type Config } from "./config.ts";
import { createAuditService } from "./rpc/audit-service.ts";
import { pageWeight } from "./rpc/messages.ts";
import { readEvent } from "./rpc/read-event.ts";
import { noteMessage } from "./rpc/note-message.ts";
import { codeByReason } from "./rpc/reason-codes.ts";
import { openSigner, signerConnections } from "./signer/signer.ts";
import { catchUp } from "./store/append-events.ts";

/** Several times the batches that a relay sends. */
export const readMaxBytes = 4 * 1024 * 1024;
/** Pages of events are bounded by `pageWeight`; as JSON they are larger by half. */
export const writeMaxBytes = 8 * 1024 * 1024;
const connectTimeoutMs = 5_000;
/** What is done of a tree by then stays, and the signer comes again. */
const catchUpMs = 10_000;
/** A tail holds a connection of the pool only while it looks. */
export const tailLimits = { pollMs: 1_000, tokenEveryMs: 15_000, streamsMax: 200, streamsPerTenantMax: 50 };
export const exportLimits = { streamsMax: 20, streamsPerTenantMax: 4 };

export interface AuditServiceProcess extends AsyncDisposable {
  readonly url: string;
  readonly metricsUrl: string;
}

/** Wires the audit service. Disposing the result stops it in reverse order of starting. */
export async function start(
  config: Config,
  release: Release,
  log: Log,
  now = () => new Date(),
  limits: Partial<TailLimits> = {},
): Promise<AuditServiceProcess> {
  await using opened = new AsyncDisposableStack();
  const services = [AuditService];
  const probes = opened.use(await openProbes({ ...config, release, services }));
  const pool = opened.use(
    openPool({
      url: config.databaseUrl,
      max: config.poolMax,
      applicationName: "caseflow-audit",
      connectTimeoutMs,
      onError: (error) => log.warn({ err: error }, "an idle database connection died"),
    }),
  );
  const budget = opened.use(
    await checkConnectionBudget({
      uses: [
        { what: "AUDIT_POOL_MAX", url: config.databaseUrl, count: config.poolMax },
        ...limitConnections(config),
        ...(config.signer ? signerConnections(config.signer.signerDatabaseUrl) : []),
      ],
      replicaCount: config.replicaCount,
      log,
    }),
  );
  const signer =
    config.signer &&
    opened.use(
      await openSigner({
        ...config.signer,
        catchUp: (tenantId) => catchUp(pool, { tenantId, timeoutMs: catchUpMs }),
        now,
        log,
      }),
    );
  const appends = createAppendFeed();
  const onAppended = (tenantId: string): void => {
    signer?.wake(tenantId);
    appends.tell(tenantId);
  };
  const accessLog = createAccessLog(pool, now, log);
  const checkEvent = createCheckEvent(log);
  const tailing = {
    pool,
    now,
    appends,
    accessLog,
    checkEvent,
    weight: pageWeight,
    limits: { ...tailLimits, ...limits },
  };
  const tailEvents = createTailEvents(tailing);
  const exporting = { pool, now, accessLog, checkEvent, signNote: signer?.signNote, limits: exportLimits };
  const application = {
    recordEvents: createRecordEvents({ pool, readEvent, log, onAppended }),
    readEvents: createLoggedReads(createReadEvents(pool, checkEvent, pageWeight), accessLog),
    readAccesses: createReadAccesses(pool, accessLog),
    tailEvents,
    exportEvents: createExportEvents(exporting),
    listHeads: createListHeads(pool),
    readProofs: createReadProofs(pool),
  };
  const serving = opened.use(
    await serve({
      ...config,
      probes,
      services,
      routes: (router) => {
        router.service(AuditService, createAuditService(application));
      },
      codeByReason,
      noteMessage,
      probe: async (signal) => {
        await probeDatabase(pool, signal);
        budget.recheck();
      },
      onStopping: () => tailEvents.stop(),
      log,
      readMaxBytes,
      writeMaxBytes,
    }),
  );
  const running = opened.move(); // Until here, a throw closes whatever had opened.
  return {
    url: serving.url,
    metricsUrl: probes.metricsUrl,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

if (import.meta.main) {
  await runService(process.env, {
    name: "caseflow-audit",
    readConfig,
    start: async (config, release, log) => {
      const running = await start(config, release, log);
      return { ...running, facts: { url: running.url, metricsUrl: running.metricsUrl } };
    },
  });
}
