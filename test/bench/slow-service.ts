import { pathToFileURL } from "node:url";
import type { Stack } from "#libs/client/stack.ts";
import { defaultIssuerNames } from "#libs/local-issuer/local-issuer.ts";
import { defaultRates, type RateLimits } from "#libs/service/limit-settings.ts";
import { createLog } from "#libs/telemetry/log.ts";
import { start } from "#services/case/main.ts";
import { openSlowLink } from "./slow-link.ts";

/** What is measured is what is behind the limits. */
const unlimited: RateLimits = {
  ...defaultRates,
  principalPerSecond: 1_000_000,
  principalBurst: 1_000_000,
  tenantPerSecond: 1_000_000,
  tenantBurst: 1_000_000,
};

/**
 * The case service in this process, with a database that is far away and few connections to it: `poolMax` calls in each
 * `linkMs` is all that it can answer, and what limits it is not this machine.
 */
export async function startSlowService(
  { jwks, postgres }: Stack,
  { linkMs, poolMax }: { readonly linkMs: number; readonly poolMax: number },
): Promise<{ readonly url: string } & AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const link = opened.use(await openSlowLink(postgres.caseAppUrl, linkMs));
  const { url } = opened.use(
    await start(
      {
        host: "127.0.0.1",
        port: 0,
        metricsPort: 0,
        databaseUrl: link.url,
        poolMax,
        replicaCount: 1,
        jwks: pathToFileURL(jwks),
        jwtIssuer: defaultIssuerNames.issuer,
        jwtAudience: defaultIssuerNames.audience,
        relay: undefined,
        rates: unlimited,
        disabledMethods: [],
        announceMs: 0,
        debugTenant: undefined,
        settings: [],
        drainMs: 5_000,
        logLevel: "silent",
      },
      { version: "0.0.0-bench", commit: "bench" },
      createLog({ service: "case-bench", version: "bench", commit: "bench", level: "silent" }),
    ),
  );
  const running = opened.move();
  return { url, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
