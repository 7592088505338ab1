import { pathToFileURL } from "node:url";
import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { defaultRates } from "#libs/service/limit-settings.ts";
import type { TailLimits } from "#services/audit/application/tail-events.ts";
import type { Config } from "#services/audit/config.ts";
import { start } from "#services/audit/main.ts";
import { cloneAuditDatabase, type AuditDatabase } from "./databases.ts";
import { makeSigning, type Signing } from "./signing.ts";
import { keptLog } from "./kept-output.ts";
import { createIssuer, type Issuer, type TokenOptions } from "./tokens.ts";
import { patientLimits } from "./bare-limits.ts";

export interface AuditServiceFixture extends AsyncDisposable {
  readonly url: string;
  readonly metricsUrl: string;
  readonly database: AuditDatabase;
  readonly issuer: Issuer;
  /** A client, with a connection of its own, that delivers events of `sources`, of any tenant. */
  source(sources?: readonly string[]): Promise<AuditClient>;
  /** A client, with a connection of its own, that reads the events of one tenant. */
  auditor(tenant?: string): Promise<AuditClient>;
  /** A client with any other token. */
  withToken(options: TokenOptions): Promise<AuditClient>;
}

export const auditTenant = "acme";
/** Who tells the tests' events. */
export const testSource = "test/source";
/** How an outcome begins on the wire: with the event's id, 36 characters of which the first is a zero for centuries. */
export const outcomeText = "\n$0";

/**
 * The real audit service in this process, on ports of its own, and on a database of its own unless one is given. It signs when
 * it is told with what; `true`: with a key of its own.
 */
export async function startAuditService(
  options: {
    readonly issuer?: Issuer;
    readonly database?: AuditDatabase;
    readonly signing?: Signing | true;
    readonly now?: () => Date;
    readonly limits?: Partial<TailLimits>;
    /** Gets every log line, read. */
    readonly logged?: Record<string, unknown>[];
    readonly config?: Partial<Config>;
  } = {},
): Promise<AuditServiceFixture> {
  await using opened = new AsyncDisposableStack();
  const issuer = options.issuer ?? opened.use(await createIssuer());
  const database = options.database ?? opened.use(await cloneAuditDatabase());
  const signing = options.signing === true ? opened.use(await makeSigning()) : options.signing;
  const destination = { write: (line: string) => void options.logged?.push(JSON.parse(line)) };
  const service = opened.use(
    await start(
      {
        host: "127.0.0.1",
        port: 0,
        metricsPort: 0,
        databaseUrl: database.appUrl,
        poolMax: 10,
        replicaCount: 1,
        jwks: pathToFileURL(issuer.jwks),
        jwtIssuer: issuer.issuer,
        jwtAudience: issuer.audience,
        signer: signing?.config(database),
        rates: defaultRates,
        disabledMethods: [],
        announceMs: 0,
        drainMs: 5_000,
        debugTenant: undefined,
        settings: [],
        logLevel: "info",
        ...options.config,
      },
      { version: "0.0.0-test", commit: "test" },
      keptLog("audit-test", options.logged && destination),
      options.now,
      options.limits,
    ),
  );
  const clients = opened.use(new AsyncDisposableStack());
  const withToken = async (token: TokenOptions) =>
    clients.use(
      createAuditClient({ url: service.url, token: await issuer.token(token), limits: patientLimits }),
    );
  const running = opened.move();
  return {
    url: service.url,
    metricsUrl: service.metricsUrl,
    database,
    issuer,
    source: (sources = [testSource]) =>
      withToken({ sub: "test-relay", kind: "service", roles: ["event_source"], sources }),
    auditor: (tenant = auditTenant) => withToken({ tenant, sub: "auditor", roles: ["auditor"] }),
    withToken,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
