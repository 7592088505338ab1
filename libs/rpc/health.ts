import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";

import {
  Health as HealthService,
  HealthCheckResponse_ServingStatus,
} from "#libs/gen/grpc/health/v1/health_pb.ts";

import { stoppingKey } from "./connection-signals.ts";
import { whenAborted } from "./when-aborted.ts";

export interface Health {
  readonly routes: (router: ConnectRouter) => void;
  /** Sets one service, or, without a name, every service and the server as a whole. */
  set(serving: boolean, service?: string): void;
  /** Of the server as a whole, without a name. */
  isServing(service?: string): boolean;
  /** Nothing serves any more, for good: what is set later changes nothing. */
  end(): void;
}

/** Watchers at a time. */
export const watchersMax = 256;

const wholeServer = "";
const Status = HealthCheckResponse_ServingStatus;

/**
 * `grpc.health.v1` for the named services and, under the empty name, for the server as a whole. Nothing serves until it
 * is set. A watcher is told the latest state, not each one in between, and is sent away when the server stops.
 */
export function createHealth(services: readonly string[]): Health {
  const statuses = new Map([wholeServer, ...services].map((name) => [name, toStatus(false)]));
  let changed = Promise.withResolvers<void>();
  let watchers = 0;
  let hasEnded = false;

  function set(serving: boolean, service?: string): void {
    if (hasEnded) return;
    for (const name of service === undefined ? statuses.keys() : [service]) {
      statuses.set(name, toStatus(serving));
    }
    changed.resolve();
    changed = Promise.withResolvers();
  }

  async function* watch(service: string, context: HandlerContext) {
    if (watchers >= watchersMax) throw new ConnectError("too many watchers", Code.ResourceExhausted);
    const stopping = context.values.get(stoppingKey);
    const over = Promise.withResolvers<void>();
    const end = () => over.resolve();
    whenAborted(context.signal, end);
    whenAborted(stopping, end);
    watchers++;
    try {
      let told: HealthCheckResponse_ServingStatus | undefined;
      while (!context.signal.aborted) {
        const change = changed.promise;
        const status = statuses.get(service) ?? Status.SERVICE_UNKNOWN;
        if (status !== told) yield { status };
        told = status;
        if (stopping.aborted) throw new ConnectError("the server is stopping", Code.Unavailable);
        await Promise.race([change, over.promise]);
      }
    } finally {
      stopping.removeEventListener("abort", end);
      watchers--;
    }
  }

  return {
    set,
    end() {
      set(false);
      hasEnded = true;
    },
    isServing: (service = wholeServer) => statuses.get(service) === Status.SERVING,
    routes: (router) =>
      router.service(HealthService, {
        check({ service }) {
          const status = statuses.get(service);
          if (status === undefined) throw new ConnectError("unknown service", Code.NotFound);
          return { status };
        },
        watch: ({ service }, context) => watch(service, context),
        list: () => ({
          statuses: Object.fromEntries(Array.from(statuses, ([name, status]) => [name, { status }])),
        }),
      }),
  };
}

function toStatus(serving: boolean): HealthCheckResponse_ServingStatus {
  return serving ? Status.SERVING : Status.NOT_SERVING;
}
