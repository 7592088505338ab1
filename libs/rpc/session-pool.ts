/**
 * Spreads the requests of one transport over several addresses: below Connect, where a request is an HTTP/2 stream.
 *
 * A request goes to the healthy address with the fewest requests under way. An address is unhealthy from a connection to it that
 * failed until one that came about, and while `grpc.health.v1` says so, which is asked where there is more than one. A request that
 * finds nobody at home goes on to the next address, healthy or not, until each was tried: nothing has been sent.
 * Each address has one connection, which is replaced once it is old: a long-lived one would never see the instances
 * that a roll-out adds behind the same name. The old one is closed when its last request has ended.
 */
import type { ClientHttp2Stream } from "node:http2";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { Health, HealthCheckResponse_ServingStatus } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { type Clock, wait } from "#libs/resilience/clock.ts";

import { connectionLossOf } from "./connection-loss.ts";
import { createSessionManager, type SessionManager, type SessionManagerOptions } from "./session-manager.ts";

export interface SessionPoolOptions extends SessionManagerOptions {
  readonly clock: Clock;
  /** A connection is replaced at this age, give or take a tenth; in milliseconds. */
  readonly connectionAgeMs: number;
  /** From one question after the health of an address to the next. */
  readonly healthIntervalMs: number;
  /** Told when an address is found unhealthy, or healthy again. */
  readonly onHealth: (url: string, healthy: boolean) => void;
  /** Told when a connection is replaced for its age. */
  readonly onRenewal: (url: string) => void;
}

interface Connection {
  readonly sessions: SessionManager;
  readonly renewAt: number;
  inFlight: number;
}

interface Address {
  readonly url: string;
  /** The last connection to it came about, or none was tried. */
  reachable: boolean;
  /** What it says of itself. */
  serving: boolean;
  connection: Connection | undefined;
}

type Request = Parameters<SessionManager["request"]>;

/** For a transport whose base URL is the first of `urls`; none of them has a path. */
export function createSessionPool(urls: readonly string[], options: SessionPoolOptions): SessionManager {
  const { clock } = options;
  const addresses: readonly Address[] = urls.map((url) => ({
    url,
    reachable: true,
    serving: true,
    connection: undefined,
  }));
  const connections = new Set<Connection>();
  const ofStream = new WeakMap<ClientHttp2Stream, SessionManager>();
  let endHealthChecks: (() => void) | undefined;

  function connectionOf(address: Address): Connection {
    const { connection } = address;
    if (connection && clock.now() < connection.renewAt) return connection;
    if (connection) options.onRenewal(address.url);
    const ageMs = options.connectionAgeMs * (0.9 + 0.2 * clock.random());
    const fresh = {
      sessions: createSessionManager(address.url, options),
      renewAt: clock.now() + ageMs,
      inFlight: 0,
    };
    connections.add(fresh);
    address.connection = fresh;
    if (connection) closeIfDone(address, connection);
    return fresh;
  }

  function closeIfDone(address: Address, connection: Connection): void {
    if (connection.inFlight > 0 || address.connection === connection) return;
    connections.delete(connection);
    connection.sessions.abort();
  }

  async function open(address: Address, request: Request): Promise<ClientHttp2Stream> {
    const connection = connectionOf(address);
    const done = () => {
      connection.inFlight -= 1;
      closeIfDone(address, connection);
    };
    connection.inFlight += 1;
    try {
      const stream = await connection.sessions.request(...request);
      tell(address, { reachable: true });
      ofStream.set(stream, connection.sessions);
      stream.once("close", done);
      return stream;
    } catch (error) {
      done();
      if (connectionLossOf(ConnectError.from(error)) !== undefined) tell(address, { reachable: false });
      throw error;
    }
  }

  function tell(address: Address, health: Partial<Pick<Address, "reachable" | "serving">>): void {
    const before = isHealthy(address);
    const now = isHealthy(Object.assign(address, health));
    if (addresses.length > 1 && now !== before) options.onHealth(address.url, now);
  }

  async function openAnywhere(request: Request): Promise<ClientHttp2Stream> {
    const left = new Set(addresses);
    for (;;) {
      const address = choose(left);
      left.delete(address);
      try {
        return await open(address, request);
      } catch (error) {
        if (left.size === 0 || connectionLossOf(ConnectError.from(error)) !== "unsent") throw error;
      }
    }
  }

  /** The first among equals is left to chance, so that many clients do not all begin with one address. */
  function choose(from: ReadonlySet<Address>): Address {
    const healthy = [...from].filter(isHealthy);
    const candidates = healthy.length > 0 ? healthy : [...from];
    const load = ({ connection }: Address) => connection?.inFlight ?? 0;
    const least = Math.min(...candidates.map(load));
    const equals = candidates.filter((address) => load(address) === least);
    return equals[Math.floor(clock.random() * equals.length)]!; // One of them has the least.
  }

  /** Asks each address until the pool is closed. */
  function startHealthChecks(): () => void {
    const over = new AbortController();
    for (const address of addresses) void watchHealth(address, over.signal).catch(() => {}); // Over is its only failure.
    return () => over.abort();
  }

  async function watchHealth(address: Address, over: AbortSignal): Promise<never> {
    const sessionManager = {
      authority: new URL(address.url).origin,
      request: (...request: Request) => open(address, request),
      notifyResponseByteRead: () => {},
    };
    const transport = createGrpcTransport({ baseUrl: address.url, sessionManager, readMaxBytes: 4_096 });
    const { check } = createClient(Health, transport);
    for (;;) {
      const serving = await check({}, { signal: over, timeoutMs: options.healthIntervalMs }).then(
        ({ status }) => status === HealthCheckResponse_ServingStatus.SERVING,
        // Of an address that cannot be reached nothing is known, and it need not be asked to be tried again.
        (error: unknown) => !address.reachable || ConnectError.from(error).code === Code.Unimplemented,
      );
      over.throwIfAborted();
      tell(address, { serving });
      await wait(clock, options.healthIntervalMs, over, "background");
    }
  }

  function abort(): void {
    endHealthChecks?.();
    endHealthChecks = undefined;
    for (const { sessions } of connections) sessions.abort();
  }
  return {
    authority: new URL(urls[0]!).origin,
    async request(...request) {
      if (addresses.length > 1) endHealthChecks ??= startHealthChecks();
      return openAnywhere(request);
    },
    notifyResponseByteRead: (stream) => ofStream.get(stream)?.notifyResponseByteRead(stream),
    abort,
    [Symbol.dispose]: abort,
  };
}

function isHealthy({ reachable, serving }: Address): boolean {
  return reachable && serving;
}
