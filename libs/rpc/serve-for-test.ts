import { createClient, type Client, type ConnectRouter, type Transport } from "@connectrpc/connect";
import { Code } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";

import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { createCallChain, type CallChainOptions } from "./call-chain.ts";
import { listen, type ListenOptions, type RpcServer } from "./listen.ts";
import type { CallFacts } from "./request-context.ts";
import type { RequestLogLine } from "./request-log.ts";
import { createSessionManager } from "./session-manager.ts";

export type TestReason =
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "INVALID_REQUEST"
  | "TOO_LARGE"
  | "NOT_NOW"
  | "DEPENDENCY_DOWN";

export const readMaxBytes = 4_096;
export const writeMaxBytes = 8_192;

const codeByReason: Record<TestReason, Code> = {
  UNAUTHENTICATED: Code.Unauthenticated,
  FORBIDDEN: Code.PermissionDenied,
  INVALID_REQUEST: Code.InvalidArgument,
  TOO_LARGE: Code.ResourceExhausted,
  NOT_NOW: Code.FailedPrecondition,
  DEPENDENCY_DOWN: Code.Unavailable,
};

const reasons = {
  unauthenticated: "UNAUTHENTICATED",
  forbidden: "FORBIDDEN",
  unavailable: "DEPENDENCY_DOWN",
} as const;

export interface TestServer extends RpcServer {
  readonly lines: RequestLogLine[];
  readonly unexpected: { readonly error: unknown; readonly call: CallFacts }[];
  readonly failures: unknown[];
  /** Resolves once that many calls have sent their headers. */
  received(count: number): Promise<void>;
  /** The log's line number `count`, once it is written. */
  line(count: number): Promise<RequestLogLine>;
}

export interface TestServerOptions extends Partial<
  Pick<CallChainOptions<TestReason>, "trace" | "interceptors" | "gates">
> {
  readonly routes: (router: ConnectRouter) => void;
  /** Everything is open when left out. */
  readonly guard?: Omit<CallChainOptions<TestReason>["authenticate"], "reasons">;
  readonly limits?: ListenOptions["limits"];
  readonly writeMaxBytes?: number;
  /** Called where the line is written. */
  readonly onLine?: () => void;
}

const waitMs = 5_000;

/** A server with the whole chain around its handlers, on a free port, that keeps what it would log. */
export async function serveForTest(options: TestServerOptions): Promise<TestServer> {
  const lines: RequestLogLine[] = [];
  const unexpected: { error: unknown; call: CallFacts }[] = [];
  const failures: unknown[] = [];
  const begun: string[] = [];
  let progress = Promise.withResolvers<void>();
  const wake = () => {
    progress.resolve();
    progress = Promise.withResolvers();
  };
  const guard = options.guard ?? {
    verifier: { verify: () => Promise.reject(new Error("nobody has to be verified")) },
    authz: () => undefined,
    open: () => true,
  };
  const chain = createCallChain<TestReason>({
    faults: {
      domain: "test",
      codeByReason,
      connectReasons: { [Code.InvalidArgument]: "INVALID_REQUEST", [Code.ResourceExhausted]: "TOO_LARGE" },
      onUnexpected: (error, call) => unexpected.push({ error, call }),
    },
    log: (line) => {
      lines.push(line);
      options.onLine?.();
      wake();
    },
    authenticate: { ...guard, reasons },
    ...(options.trace && { trace: options.trace }),
    ...(options.interceptors && { interceptors: options.interceptors }),
    gates: [
      ({ method }) => {
        begun.push(method.name);
        wake();
      },
      ...(options.gates ?? []),
    ],
  });
  const server = await listen({
    host: "127.0.0.1",
    port: 0,
    routes: options.routes,
    ...chain,
    readMaxBytes,
    writeMaxBytes: options.writeMaxBytes ?? writeMaxBytes,
    onFailure: (error) => failures.push(error),
    ...(options.limits && { limits: options.limits }),
  });
  return {
    ...server,
    lines,
    unexpected,
    failures,
    async received(count) {
      while (begun.length < count) await within(progress.promise, `call ${count}`);
    },
    async line(count) {
      for (;;) {
        const line = lines[count - 1];
        if (line !== undefined) return line;
        await within(progress.promise, `line ${count} of the request log`);
      }
    },
  };
}

/** Fails with what was waited for when it does not come. */
export async function within<T>(work: PromiseLike<T>, what: string, limitMs = waitMs): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not within ${limitMs} ms: ${what}`)), limitMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

export interface TestClient extends Disposable {
  readonly transport: Transport;
  readonly health: Client<typeof Health>;
}

/** Every protocol on every version of HTTP that carries it. */
export const protocols = [
  "grpc",
  "grpc-web h1",
  "grpc-web h2",
  "connect h1",
  "connect h2",
  "connect json",
] as const;

export type Protocol = (typeof protocols)[number];

export function connectForTest(url: string, protocol: Protocol = "grpc"): TestClient {
  const sessions = createSessionManager(url);
  const http2 = { baseUrl: url, sessionManager: sessions, httpVersion: "2" } as const;
  const http1 = { baseUrl: url, httpVersion: "1.1" } as const;
  const open: Record<Protocol, () => Transport> = {
    grpc: () => createGrpcTransport(http2),
    "grpc-web h1": () => createGrpcWebTransport(http1),
    "grpc-web h2": () => createGrpcWebTransport(http2),
    "connect h1": () => createConnectTransport({ ...http1, useBinaryFormat: true }),
    "connect h2": () => createConnectTransport({ ...http2, useBinaryFormat: true }),
    "connect json": () => createConnectTransport({ ...http2, useBinaryFormat: false }),
  };
  const transport = open[protocol]();
  return { transport, health: createClient(Health, transport), [Symbol.dispose]: sessions.abort };
}
