import { randomUUID } from "node:crypto";
import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { createCaseAdminClient, type CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import { startAuditService, testSource } from "./audit-service.ts";
import { people, startCaseService } from "./case-service.ts";
import type { AuditVictim } from "./crash-append.ts";
import type { CaseVictim, Fault } from "./crash-attack.ts";
import { postgresProtocol } from "./crash-messages.ts";
import { within } from "./crash-points.ts";
import { startCrashProxy, type CrashProxy } from "./crash-proxy.ts";
import { listenerOf, throughProxy } from "./cutting-proxy.ts";
import type { AuditDatabase, CaseDatabase } from "./databases.ts";
import { startServiceProcess, type ServiceProcess } from "./service-process.ts";
import { openSuperuser } from "./superuser.ts";
import type { Issuer } from "./tokens.ts";
import { bareLimits } from "./bare-limits.ts";

const deathMs = 10_000;

/** A case service in this process, without a relay, behind a proxy. */
export async function startVictim(
  database: CaseDatabase,
  issuer: Issuer,
  poolMax = 1,
): Promise<CaseVictim & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const proxy = opened.use(await startCrashProxy(postgresProtocol, listenerOf(database.appUrl)));
  const proxied = { ...database, appUrl: throughProxy(database.appUrl, proxy) };
  const service = opened.use(
    await startCaseService({ issuer, database: proxied, config: { relay: "off", poolMax } }),
  );
  const running = opened.move();
  return {
    proxy,
    as: service.as,
    admin: service.admin,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The audit service in this process, behind a proxy. */
export async function startAuditVictim(
  database: AuditDatabase,
  issuer: Issuer,
): Promise<AuditVictim & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const proxy = opened.use(await startCrashProxy(postgresProtocol, listenerOf(database.appUrl)));
  const proxied = { ...database, appUrl: throughProxy(database.appUrl, proxy) };
  const service = opened.use(await startAuditService({ issuer, database: proxied, config: { poolMax: 1 } }));
  const client = await service.source();
  const running = opened.move();
  return { proxy, source: async () => client, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** A victim that is a process of its own, and what kills it and starts it again. */
interface Killable<Victim> extends AsyncDisposable {
  readonly victim: Victim;
  readonly kill: Fault;
}

/** A case service without a relay, behind a proxy. */
export async function startProcessVictim(
  database: CaseDatabase,
  issuer: Issuer,
  poolMax = 1,
): Promise<Killable<CaseVictim>> {
  await using opened = new AsyncDisposableStack();
  const proxy = opened.use(await startCrashProxy(postgresProtocol, listenerOf(database.appUrl)));
  const { url, kill } = opened.use(
    await startKillable(proxy, "services/case/main.ts", {
      ...verifying(issuer),
      CASE_PORT: "0",
      CASE_METRICS_PORT: "0",
      CASE_DATABASE_URL: throughProxy(database.appUrl, proxy),
      CASE_POOL_MAX: String(poolMax),
      RELAY: "off",
    }),
  );
  const clients = opened.use(new AsyncDisposableStack());
  const known = new Map<string, CaseClient>();
  const admins = new Map<string, CaseAdminClient>();
  const running = opened.move();
  return {
    victim: {
      proxy,
      async as(person, tenant = "acme") {
        const key = `${url()} ${person} ${tenant}`;
        const found = known.get(key);
        if (found !== undefined) return found;
        const token = await issuer.token({ tenant, sub: person, roles: people[person] });
        const client = clients.use(createCaseClient({ url: url(), token, limits: bareLimits }));
        known.set(key, client);
        return client;
      },
      async admin(tenant = "acme") {
        const key = `${url()} ${tenant}`;
        const token = await issuer.token({ tenant, sub: "operator", roles: people.operator });
        const client =
          admins.get(key) ?? clients.use(createCaseAdminClient({ url: url(), token, limits: bareLimits }));
        admins.set(key, client);
        return client;
      },
    },
    kill,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The audit service, behind a proxy. */
export async function startAuditProcessVictim(
  database: AuditDatabase,
  issuer: Issuer,
): Promise<Killable<AuditVictim>> {
  await using opened = new AsyncDisposableStack();
  const proxy = opened.use(await startCrashProxy(postgresProtocol, listenerOf(database.appUrl)));
  const { url, kill } = opened.use(
    await startKillable(
      proxy,
      "services/audit/main.ts",
      auditSettings(throughProxy(database.appUrl, proxy), issuer),
    ),
  );
  const clients = opened.use(new AsyncDisposableStack());
  const known = new Map<string, AuditClient>();
  const token = await issuer.token({
    sub: "test-relay",
    kind: "service",
    roles: ["event_source"],
    sources: [testSource],
  });
  const running = opened.move();
  return {
    victim: {
      proxy,
      async source() {
        const client =
          known.get(url()) ?? clients.use(createAuditClient({ url: url(), token, limits: bareLimits }));
        known.set(url(), client);
        return client;
      },
    },
    kill,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The settings of an audit service on any free ports. */
export function auditSettings(databaseUrl: string, issuer: Issuer): Record<string, string> {
  return {
    ...verifying(issuer),
    AUDIT_PORT: "0",
    AUDIT_METRICS_PORT: "0",
    AUDIT_DATABASE_URL: databaseUrl,
    AUDIT_POOL_MAX: "1",
  };
}

/** Whose modules are in the cache. */
const compiled = new Set<string>();

/** A service as a process whose connections through the proxy are gone once it is killed; it comes back on another port. */
export async function startKillable(
  proxy: CrashProxy,
  main: string,
  env: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { url(): string; readonly kill: Fault }> {
  const begin = (): Promise<ServiceProcess> => startServiceProcess(main, env);
  if (!compiled.has(main)) await (await begin()).end("SIGTERM"); // The cache is written at a clean end only.
  compiled.add(main);
  let service = await begin();
  return {
    url: () => service.url,
    kill: {
      async strike() {
        await within(deathMs, "the death of the service", service.end("SIGKILL"));
        proxy.cutAll(); // The kernel has closed its sockets already, and tells us in time.
      },
      async recover() {
        service = await begin();
      },
    },
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}

/** The settings by which a service verifies tokens. */
export function verifying(issuer: Issuer): Record<string, string> {
  return {
    CASEFLOW_JWKS: issuer.jwks,
    CASEFLOW_JWT_ISSUER: issuer.issuer,
    CASEFLOW_JWT_AUDIENCE: issuer.audience,
  };
}

/** The connection is gone, for both sides at once. */
export const cutConnection: Fault = {
  strike: (struck) => struck.cut(),
  recover: async () => {},
};

/** An administrator ends the backend, which has last words. */
export function terminateBackend(superuserUrl: string): Fault {
  return {
    async strike({ backendPid }) {
      await using superuser = await openSuperuser(superuserUrl);
      // Waits until it is gone, unless it takes longer than the limit.
      const { rows } = await superuser.query<{ ended: boolean }>(
        "SELECT pg_terminate_backend($1, $2) AS ended",
        [backendPid, deathMs],
      );
      if (rows[0]?.ended !== true) throw new Error(`backend ${backendPid} did not end`);
    },
    recover: async () => {},
  };
}

/** An administrator ends every backend of the database but his own. */
export function terminateBackends(superuserUrl: string): Fault {
  return {
    async strike() {
      await using superuser = await openSuperuser(superuserUrl);
      await superuser.query(
        `SELECT pg_terminate_backend(pid, $1) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()`,
        [deathMs],
      );
    },
    recover: async () => {},
  };
}

/** A tenant that nobody else has. */
export function newTenant(): string {
  return `t-${randomUUID()}`;
}
