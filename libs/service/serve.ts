import { setTimeout as pause } from "node:timers/promises";
import {
  getExtension,
  hasExtension,
  type DescMethod,
  type DescService,
  type Message,
} from "@bufbuild/protobuf";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import { createValidator } from "@bufbuild/protovalidate";
import { createValidateInterceptor } from "@connectrpc/validate";
import type { ShownSetting } from "#libs/config/setting.ts";
import { authz } from "#libs/gen/caseflow/options/v1/authz_pb.ts";
import type { MethodAuthz } from "#libs/rpc/authenticate.ts";
import { noteMessages, type CallNotes } from "#libs/rpc/call-notes.ts";
import { createCallChain } from "#libs/rpc/call-chain.ts";
import { codeName } from "#libs/rpc/code-name.ts";
import { listen } from "#libs/rpc/listen.ts";
import { monitorHealth } from "#libs/rpc/monitor-health.ts";
import { createOperatorPages } from "#libs/rpc/operator-pages.ts";
import { reflectionRoutes } from "#libs/rpc/reflection.ts";
import { createRequestMetrics } from "#libs/rpc/request-metrics.ts";
import { splitNotes } from "#libs/rpc/split-notes.ts";
import { createTokenVerifier } from "#libs/rpc/verify-token.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { serverSpans } from "#libs/telemetry/server-spans.ts";
import { refuseDisabled } from "./disabled-methods.ts";
import { limitCalls } from "./limit-calls.ts";
import type { RateLimits } from "./limit-settings.ts";
import type { Probes } from "./open-probes.ts";
import type { DatabaseReason } from "./report-database-faults.ts";

/** The reasons that serving itself gives; a service's own come on top. */
export type ServingReason =
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "INVALID_REQUEST"
  | "TOO_LARGE"
  | "RATE_LIMITED"
  | "METHOD_DISABLED"
  | "DEPENDENCY_DOWN";

export interface ServeOptions<R extends string> {
  readonly host: string;
  readonly port: number;
  /** How long NOT_SERVING is told before no more calls are taken. */
  readonly announceMs: number;
  /** How long calls under way may still take after that. */
  readonly drainMs: number;
  readonly probes: Probes;
  readonly jwks: URL;
  readonly jwtIssuer: string;
  readonly jwtAudience: string;
  /** Everything that is served, for reflection. */
  readonly services: readonly DescService[];
  readonly routes: (router: ConnectRouter) => void;
  readonly codeByReason: Readonly<Record<R | ServingReason, Code>>;
  /** What log lines and spans tell of a request or an answer; requests come as they were sent. */
  readonly noteMessage: (message: Message) => CallNotes;
  /** Resolves when the service can do its work. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  /** Called when it begins to stop, before calls under way are waited for: ends what would not end by itself, as streams. */
  readonly onStopping?: () => void;
  readonly rates: RateLimits;
  /** As the service's role: where replicas that share their limits count calls. */
  readonly databaseUrl: string;
  /** Methods that are refused, `package.Service/Method`. */
  readonly disabledMethods: readonly string[];
  /** What operators are shown. */
  readonly settings: readonly ShownSetting[];
  /** Whose operators may take profiles and heap snapshots; `undefined`: nobody may. */
  readonly debugTenant: string | undefined;
  readonly log: Log;
  readonly readMaxBytes: number;
  readonly writeMaxBytes: number;
}

export interface Serving extends AsyncDisposable {
  readonly url: string;
}

const errorDomain = "caseflow";
const operatorRole = "operator";
const probeEveryMs = 1_000;
const probeTimeoutMs = 1_500;
/** A database that restarts, or is slow for a moment, takes no replica out of the balance; all of them share it. */
const failuresToStop = 3;
const successesToServe = 2;
const clockToleranceSeconds = 5;
/** Drivers of container logs cut lines at 16 KiB; the rest is for what every call has. */
const notesBytesMax = 8 * 1024;

const databaseReasons: readonly DatabaseReason[] = ["DEPENDENCY_DOWN", "OUTCOME_UNKNOWN", "OVERLOADED"];
/** How calls end that fail for a reason of ours; docs/slo.md counts them. */
const failures = [
  ...[Code.Internal, Code.Unknown, Code.DeadlineExceeded].map((code) => ({
    code: codeName(code),
    reason: "",
  })),
  ...databaseReasons.map((reason) => ({ code: codeName(Code.Unavailable), reason })),
];

/** One a process: it keeps the rules that it has compiled. */
const validator = createValidator();

/** What Connect itself refuses, by its code. */
const connectReasons: Partial<Record<Code, ServingReason>> = {
  [Code.InvalidArgument]: "INVALID_REQUEST",
  [Code.ResourceExhausted]: "TOO_LARGE",
};

/**
 * Serves RPCs with everything a service of ours has around its handlers: three protocols on one port, tokens, the authz
 * option of each method, validation, error details, one log line a call, health and reflection. Throws `PortTakenError`.
 *
 * Disposing tells the world first (NOT_SERVING, for good), goes on for `announceMs` so that it is heard, ends streams, lets
 * calls under way end within `drainMs`, then closes the port.
 */
export async function serve<R extends string>(options: ServeOptions<R>): Promise<Serving> {
  const { log, services, probes } = options;
  await using opened = new AsyncDisposableStack();
  const { health } = probes;
  const reflection = reflectionRoutes(services.map(({ file }) => file));
  const verifier = createTokenVerifier({
    jwks: options.jwks.href,
    issuer: options.jwtIssuer,
    audience: options.jwtAudience,
    clockToleranceSeconds,
    onKeysFailure: (error) => log.warn({ err: error }, "the key set cannot be loaded"),
  });
  const measure = createRequestMetrics(services, failures);
  const limits = opened.use(limitCalls(options));
  const guarded = new Set(services.map(({ typeName }) => typeName));
  const chain = createCallChain<R | ServingReason>({
    faults: {
      domain: errorDomain,
      codeByReason: options.codeByReason,
      connectReasons,
      onUnexpected: (error, call) => log.error({ err: error, ...call }, "call failed unexpectedly"),
    },
    log: (line) => {
      measure.call(line);
      const { notes, ...facts } = line;
      const { requestId, correlationId, method } = facts;
      const [first, ...others] = splitNotes(notes, notesBytesMax);
      log.info({ ...facts, ...first }, "call");
      for (const more of others) log.info({ requestId, correlationId, method, ...more }, "more of a call");
    },
    authenticate: {
      verifier,
      authz: readAuthz,
      onFailure: measure.authFailure,
      open: ({ typeName }) => !guarded.has(typeName),
      reasons: { unauthenticated: "UNAUTHENTICATED", forbidden: "FORBIDDEN", unavailable: "DEPENDENCY_DOWN" },
    },
    gates: [refuseDisabled(options.disabledMethods), limits.gate],
    trace: serverSpans,
    interceptors: [noteMessages(options.noteMessage), createValidateInterceptor({ validator })],
  });
  const server = opened.use(
    await listen({
      host: options.host,
      port: options.port,
      routes: (router) => {
        health.routes(router);
        reflection(router);
        options.routes(router);
      },
      ...chain,
      readMaxBytes: options.readMaxBytes,
      writeMaxBytes: options.writeMaxBytes,
      onFailure: (error) => log.warn({ err: error }, "connection failed"),
    }),
  );
  probes.showOperators(
    createOperatorPages({
      verifier,
      role: operatorRole,
      settings: options.settings,
      debugTenant: options.debugTenant,
      onAccess: (access) => log.warn(access, "an operator's page was asked for"),
      onAuthFailure: measure.authFailure,
    }),
  );
  const monitor = opened.use(
    monitorHealth({
      probe: options.probe,
      intervalMs: probeEveryMs,
      timeoutMs: probeTimeoutMs,
      failuresToStop,
      successesToServe,
      onChange: (serving, error) => {
        health.set(serving);
        if (serving) log.info("serving");
        else log.warn({ err: error }, "not serving: the database does not answer");
      },
    }),
  );
  probes.started();
  const running = opened.move();
  return {
    url: server.url,
    async [Symbol.asyncDispose]() {
      health.end();
      await monitor[Symbol.asyncDispose]();
      await pause(options.announceMs);
      options.onStopping?.();
      await server.stop({ drainMs: options.drainMs });
      await running.disposeAsync();
    },
  };
}

/** The method's `authz` option; `undefined` where there is none, and then nobody may call it. */
function readAuthz({ proto: { options } }: DescMethod): MethodAuthz | undefined {
  if (options === undefined || !hasExtension(options, authz)) return undefined;
  const { roles, tenantFromMessage } = getExtension(options, authz);
  return { roles, tenantFromMessage };
}
