import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { probeDatabase } from "#libs/pg/health-probe.ts";
import { openPool } from "#libs/pg/pool.ts";
import { checkConnectionBudget } from "#libs/service/connection-budget.ts";
import { limitConnections } from "#libs/service/limit-calls.ts";
import type { Release } from "#libs/service/release.ts";
import { runService } from "#libs/service/run-service.ts";
import { openProbes } from "#libs/service/open-probes.ts";
import { serve } from "#libs/service/serve.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { createChangeCase } from "./application/change-case.ts";
import { createDeadLetters } from "./application/dead-letters.ts";
import { createListEntryDigests } from "./application/list-entry-digests.ts";
import { createPolicies } from "./application/policies.ts";
import { createReadCases } from "./application/read-cases.ts";
import { createRequeueEntries } from "./application/requeue-entries.ts";
import { createWatchCases } from "./application/watch-cases.ts";
import { createWriteMetrics } from "./application/write-metrics.ts";
import { readConfig, type Config } from "./config.ts";
import { createAnnouncer } from "./relay/announce.ts";
import { openCommitFeed } from "./relay/commit-feed.ts";
import { openRelay, relayConnections } from "./rpc/open-relay.ts";
import { createCaseAdminService } from "./rpc/case-admin-service.ts";
import { createCaseService } from "./rpc/case-service.ts";
import { encodeEvent, readPlace, readSubject } from "./rpc/event-codec.ts";
import { noteMessage } from "./rpc/note-message.ts";
import { codeByReason } from "./rpc/reason-codes.ts";

/** Requests are small: content and reasons have their own, lower limits. */
export const readMaxBytes = 1024 * 1024;
/** Pages are bounded by their content; as JSON they are larger by half. */
export const writeMaxBytes = 8 * 1024 * 1024;
const connectTimeoutMs = 5_000;
/** A stream looks at least once in `pollMs`; each holds a connection of the pool only while it looks. */
export const watchLimits = { pollMs: 1_000, streamsMax: 200, streamsPerTenantMax: 50 };

export interface CaseServiceProcess extends AsyncDisposable {
  readonly url: string;
  readonly metricsUrl: string;
}

/** Wires the case service. Disposing the result stops it in reverse order of starting. */
export async function start(
  config: Config,
  release: Release,
  log: Log,
  now = () => new Date(),
): Promise<CaseServiceProcess> {
  await using opened = new AsyncDisposableStack();
  const services = [CaseService, CaseAdminService];
  const probes = opened.use(await openProbes({ ...config, release, services }));
  const pool = opened.use(
    openPool({
      url: config.databaseUrl,
      max: config.poolMax,
      applicationName: "caseflow-case",
      connectTimeoutMs,
      onError: (error) => log.warn({ err: error }, "an idle database connection died"),
    }),
  );
  const budget = opened.use(
    await checkConnectionBudget({
      uses: [
        { what: "CASE_POOL_MAX", url: config.databaseUrl, count: config.poolMax },
        { what: "the commit feed", url: config.databaseUrl, count: 1 },
        ...limitConnections(config),
        ...(config.relay ? relayConnections(config.relay) : []),
      ],
      replicaCount: config.replicaCount,
      log,
    }),
  );
  const relay = config.relay && opened.use(openRelay(config.relay, log, now));
  const announcer = opened.use(createAnnouncer(pool, log));
  const commits = opened.use(openCommitFeed(config.databaseUrl, log));
  const onCommitted = (): void => {
    relay?.wake();
    commits.tell();
    announcer.wake();
  };
  const watchCases = createWatchCases({ pool, now, onCommits: commits.listen, ...watchLimits });
  const writing = { pool, now, encodeEvent, onCommitted, metrics: createWriteMetrics() };
  const application = {
    changeCase: createChangeCase(writing),
    policies: createPolicies(writing),
    listEntryDigests: createListEntryDigests(pool, readSubject),
    requeueEntries: createRequeueEntries(writing),
    deadLetters: createDeadLetters({ ...writing, readPlace }),
    readCases: createReadCases(pool),
    watchCases,
  };
  const serving = opened.use(
    await serve({
      ...config,
      probes,
      services,
      routes: (router) => {
        router.service(CaseService, createCaseService(application));
        router.service(CaseAdminService, createCaseAdminService(application));
      },
      codeByReason,
      noteMessage,
      probe: async (signal) => {
        await probeDatabase(pool, signal);
        budget.recheck();
      },
      onStopping: () => watchCases.stop(),
      log,
      readMaxBytes,
      writeMaxBytes,
    }),
  );
  const running = opened.move();
  return {
    url: serving.url,
    metricsUrl: probes.metricsUrl,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

if (import.meta.main) {
  await runService(process.env, {
    name: "caseflow-case",
    readConfig,
    start: async (config, release, log) => {
      const running = await start(config, release, log);
      return { ...running, facts: { url: running.url, metricsUrl: running.metricsUrl } };
    },
  });
}
