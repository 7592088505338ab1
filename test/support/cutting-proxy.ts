import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";

/** Which bytes a strike waits for: the first that `side` sends, of those that hold `has`. */
export interface Point {
  readonly side: "client" | "server";
  /** As Latin-1. Absent: any. */
  readonly has?: string;
  /** Where in them it strikes: before this text. Absent: before `has`, or at the start. */
  readonly before?: string;
}

/**
 * What is done at a point. `cut`: what stands before it passes, and the connection is gone. `cut-answer`: all of it passes,
 * and the connection is gone when the other side answers. `hold`: the rest waits until it is released; `delayMs`: for a time.
 */
export type Act = "cut" | "cut-answer" | "hold" | { readonly delayMs: number };

export interface Strike {
  /** Resolves once it has struck. */
  readonly struck: Promise<void>;
  /** Lets go what is held, and may cut the connection at its answer; or calls the strike off, if it has not struck yet. */
  release(then?: "cut-answer"): void;
}

export interface CuttingProxy extends AsyncDisposable {
  readonly port: number;
  /** Prepares one strike; several may wait at a time. */
  strike(point: Point, act: Act): Strike;
  /** Cuts every connection, and while `refusing` every new one. */
  cutAll(): void;
  refusing: boolean;
  /** How many connections it has refused. */
  refused: number;
}

interface Armed {
  readonly point: Point;
  readonly act: Act;
  readonly hit: PromiseWithResolvers<void>;
  readonly released: PromiseWithResolvers<"cut-answer" | undefined>;
}

/** One connection through the proxy. */
interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** Cut at the server's next words. */
  cutAtAnswer: boolean;
}

/** Stands in front of a server, by host and port or by the path of its Unix socket, and breaks what it is told to. */
export async function startCuttingProxy(
  target: { readonly host: string; readonly port: number } | { readonly path: string },
): Promise<CuttingProxy> {
  const links = new Set<Link>();
  const armed = new Set<Armed>();
  const strikes = new Set<Armed>();
  const listener = createServer({ noDelay: true }, (client) => {
    if (proxy.refusing) {
      proxy.refused += 1;
      client.destroy();
      return;
    }
    const link: Link = { client, server: connect(target), cutAtAnswer: false };
    links.add(link);
    void Promise.all([
      pump(link, "client", client, link.server, armed),
      pump(link, "server", link.server, client, armed),
    ]).then(() => links.delete(link));
  }).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("it listens on TCP");
  const proxy: CuttingProxy = {
    port: address.port,
    refusing: false,
    refused: 0,
    strike(point, act) {
      const strike = {
        point,
        act,
        hit: Promise.withResolvers<void>(),
        released: Promise.withResolvers<"cut-answer" | undefined>(),
      };
      armed.add(strike);
      strikes.add(strike);
      const release: Strike["release"] = (then) => {
        armed.delete(strike);
        strike.released.resolve(then);
      };
      return { struck: strike.hit.promise, release };
    },
    cutAll: () => links.forEach(cut),
    async [Symbol.asyncDispose]() {
      for (const { released } of strikes) released.resolve(undefined);
      proxy.refusing = true;
      proxy.cutAll();
      listener.close();
      await once(listener, "close");
    },
  };
  return proxy;
}

/** The same database, by way of the proxy. */
export function throughProxy(url: string, { port }: { readonly port: number }): string {
  const { user = "", database = "" } = new Client(url);
  return `postgresql://${user}@127.0.0.1:${port}/${database}`;
}

/** Where the server of a database URL listens. */
export function listenerOf(url: string): { host: string; port: number } | { path: string } {
  const { host, port } = new Client(url);
  return host.startsWith("/") ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
}

function cut({ client, server }: Link): void {
  client.destroy();
  server.destroy();
}

/** Carries one direction until either end is gone. Chunks wait for one another, so that a held one holds those behind it. */
async function pump(
  link: Link,
  side: Point["side"],
  from: Socket,
  to: Socket,
  armed: Set<Armed>,
): Promise<void> {
  to.on("error", () => cut(link));
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      if (side === "server" && link.cutAtAnswer) return;
      const strike = [...armed].find(
        ({ point }) => point.side === side && chunk.includes(point.has ?? "", 0, "latin1"),
      );
      if (strike) await hit(strike, link, chunk, to, armed);
      else to.write(chunk);
      if (to.destroyed) return;
    }
    to.end();
    if (!to.closed) await once(to, "close");
  } catch {
    // Reset by one side: the other learns of it as well.
  } finally {
    cut(link);
  }
}

async function hit(strike: Armed, link: Link, chunk: Buffer, to: Socket, armed: Set<Armed>): Promise<void> {
  const { point, act } = strike;
  armed.delete(strike);
  const at = Math.max(0, chunk.indexOf(point.before ?? point.has ?? "", 0, "latin1"));
  strike.hit.resolve();
  if (act === "cut-answer") {
    link.cutAtAnswer = true;
    to.write(chunk);
    return;
  }
  if (at > 0) to.write(chunk.subarray(0, at));
  if (act === "cut") {
    await new Promise((resolve) => to.write("", resolve)); // What stands before it is on its way.
    return cut(link);
  }
  if (act === "hold") link.cutAtAnswer = (await strike.released.promise) === "cut-answer";
  else await sleep(act.delayMs);
  to.write(chunk.subarray(at));
}
