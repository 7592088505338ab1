import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { Stack } from "#libs/client/stack.ts";
import type { Environment } from "#libs/config/read-settings.ts";
import { FolderLocked, lockFolder } from "#libs/files/lock-folder.ts";
import { createLocalIssuer, type LocalIssuer } from "#libs/local-issuer/local-issuer.ts";

import { checkPorts } from "./check-ports.ts";
import type { LocalConfig } from "./config.ts";
import { forgetData } from "./forget-data.ts";
import { clearLeftovers, stackVariable } from "./leftovers.ts";
import { makeFolder } from "./make-folder.ts";
import { signTokens } from "./made-up-people.ts";
import type { Progress } from "./progress.ts";
import { keepRelayToken } from "./relay-token.ts";
import { type ServiceProcess, startService } from "./service-process.ts";
import { makeSigningKey } from "./signing-key.ts";
import { removeStackFile, writeStackFile } from "./stack-file.ts";
import { startDatabases } from "./start-databases.ts";
import { explainHome, StartFailure } from "./start-failure.ts";
import { describeEnd, waitUntilServing } from "./wait-until-serving.ts";

export interface StartOptions {
  readonly config: LocalConfig;
  /** Whether to forget the data first. */
  readonly reset: boolean;
  readonly progress: Progress;
  /** Aborted to give up between two steps. */
  readonly signal: AbortSignal;
}

/** Disposing it stops everything, in reverse order of starting. */
export interface RunningStack extends AsyncDisposable {
  readonly stack: Stack;
  /** Settles when a part has ended that was not told to. */
  readonly failed: Promise<StartFailure>;
}

interface Keys {
  /** File or URL. */
  readonly jwks: string;
  readonly relayTokenFile: string;
  readonly tokens: Stack["tokens"];
  /** Folder of the keys that checkpoints are signed with. */
  readonly signingKeys: string;
}

const root = fileURLToPath(new URL("../../", import.meta.url));
const relayTokenSeconds = 12 * 3_600;
/** Levels at which a service says where it listens, which is how we learn it; quieter ones are not for here. */
const loudLevels = ["trace", "debug", "info"];

/** Starts the whole stack. Throws `StartFailure` for what whoever started it can mend; then nothing is left running. */
export async function startStack({ config, reset, progress, signal }: StartOptions): Promise<RunningStack> {
  await using opened = new AsyncDisposableStack();
  try {
    await openHome(config, reset, progress, opened);
    await checkPorts(config);
    const { urls, server } = await startDatabases(config, progress, opened);
    signal.throwIfAborted();
    const keys = await progress.step(
      "keys",
      () => openKeys(config, opened),
      ({ jwks }) => jwks,
    );
    const common = toEnvironment(config, keys);
    const { AUDIT_PORT, AUDIT_METRICS_PORT, CASE_PORT, CASE_METRICS_PORT } = config.ports;
    const start = (name: "audit" | "case", environment: Environment) =>
      progress.step(
        name,
        async () => {
          const service = opened.use(await launch(name, config.home, { ...common, ...environment }));
          return { service, ...(await waitUntilServing(service, signal)) };
        },
        ({ url }) => `serving at ${url}`,
      );
    const audit = await start("audit", {
      AUDIT_PORT: String(AUDIT_PORT),
      AUDIT_METRICS_PORT: String(AUDIT_METRICS_PORT),
      AUDIT_DATABASE_URL: urls.auditApp,
      AUDIT_SIGNER_DATABASE_URL: urls.auditSigner,
      AUDIT_SIGNING_KEYS: keys.signingKeys,
      AUDIT_SIGNER_HOME: join(config.home, "signer"),
    });
    const cases = await start("case", {
      CASE_PORT: String(CASE_PORT),
      CASE_METRICS_PORT: String(CASE_METRICS_PORT),
      CASE_DATABASE_URL: urls.caseApp,
      CASE_RELAY_DATABASE_URL: urls.caseRelay,
      AUDIT_URL: audit.url,
      AUDIT_TOKEN_FILE: keys.relayTokenFile,
    });
    const stack: Stack = {
      version: 1,
      case: { url: cases.url, metricsUrl: cases.metricsUrl, pid: cases.service.pid },
      audit: { url: audit.url, metricsUrl: audit.metricsUrl, pid: audit.service.pid },
      postgres: {
        pid: server?.pid ?? null,
        caseUrl: urls.caseOwner,
        auditUrl: urls.auditOwner,
        caseAppUrl: urls.caseApp,
        auditAppUrl: urls.auditApp,
      },
      jwks: keys.jwks,
      tokens: keys.tokens,
    };
    opened.use(await writeStackFile(config.home, stack));
    const failed = Promise.race([
      failure(cases.service),
      failure(audit.service),
      ...(server
        ? [server.ended.then((how) => new StartFailure(`PostgreSQL ended (${how}); see ${server.logFile}`))]
        : []),
    ]);
    const running = opened.move();
    return { stack, failed, [Symbol.asyncDispose]: () => running.disposeAsync() };
  } catch (error) {
    throw explainHome(error, config.home);
  }
}

/** Makes the folder, and makes sure that nobody else works in it, nor anything that a killed stack left behind. */
async function openHome(
  config: LocalConfig,
  reset: boolean,
  progress: Progress,
  opened: AsyncDisposableStack,
): Promise<void> {
  const { home } = config;
  await makeFolder(home);
  try {
    opened.use(await lockFolder(home));
  } catch (error) {
    if (!(error instanceof FolderLocked)) throw error;
    const who = error.pid === undefined ? "another stack" : `another stack (process ${error.pid})`;
    throw new StartFailure(
      `CASEFLOW_HOME: ${who} is running with ${home}; stop it, or set CASEFLOW_HOME to another folder`,
    );
  }
  await clearLeftovers(home);
  await removeStackFile(home);
  if (reset)
    await progress.step(
      "reset",
      () => forgetData(config),
      () => "the data is forgotten",
    );
  for (const name of ["logs", "signer"]) await makeFolder(join(home, name));
}

async function openKeys(config: LocalConfig, opened: AsyncDisposableStack): Promise<Keys> {
  const { foreignIssuer, home, log } = config;
  const signingKeys = log.signingKeys ?? (await makeSigningKey(join(home, "log-keys")));
  if (foreignIssuer) {
    const { jwks, relayTokenFile } = foreignIssuer;
    const jwksPath = jwks.protocol === "file:" ? fileURLToPath(jwks) : jwks.href;
    return { jwks: jwksPath, relayTokenFile, tokens: {}, signingKeys };
  }
  const issuer: LocalIssuer = await createLocalIssuer(home, config.tokens);
  const relayTokenFile = join(home, "relay-token");
  opened.use(await keepRelayToken(issuer, relayTokenFile, relayTokenSeconds, warnOfRenewal));
  return { jwks: issuer.jwksFile, relayTokenFile, tokens: await signTokens(issuer), signingKeys };
}

function warnOfRenewal(error: unknown): void {
  process.stderr.write(`the relay's token cannot be renewed: ${String(error)}\n`);
}

/** What both services are given: what we were given, less what is not for them, and what belongs to the stack. */
function toEnvironment(config: LocalConfig, { jwks }: Keys): Environment {
  const {
    CASE_OWNER_DATABASE_URL: _caseOwner,
    AUDIT_OWNER_DATABASE_URL: _auditOwner,
    AUDIT_SIGNER_DATABASE_URL: _auditSigner,
    AUDIT_SIGNING_KEYS: _signingKeys,
    AUDIT_SIGNER_HOME: _signerHome,
    LOG_LEVEL: level = "info",
    ...inherited
  } = config.environment;
  return {
    ...inherited,
    [stackVariable]: config.home,
    CASEFLOW_HOME: config.home,
    CASEFLOW_BIND: config.host,
    CASEFLOW_JWKS: jwks,
    CASEFLOW_JWT_ISSUER: config.tokens.issuer,
    CASEFLOW_JWT_AUDIENCE: config.tokens.audience,
    CASEFLOW_LOG_ORIGIN: config.log.origin,
    LOG_LEVEL: loudLevels.includes(level) ? level : "info",
  };
}

function launch(name: "audit" | "case", home: string, env: Environment): Promise<ServiceProcess> {
  return startService({
    name,
    args: ["--import", "./libs/telemetry/register.ts", `services/${name}/main.ts`],
    cwd: root,
    env: { ...env },
    logFile: join(home, "logs", `${name}.log`),
  });
}

async function failure(service: ServiceProcess): Promise<StartFailure> {
  return new StartFailure(await describeEnd(service, await service.ended));
}
