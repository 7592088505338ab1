/*
 * Stands between a client and a server, passes on whole messages, and stops the world at one of them.
 *
 *   count     the messages that a strike asks for, of both directions and of every connection, in the order of arrival
 *   stop      at the n-th: everything before it is handed to the kernel, and it too if the strike is after it; from there on
 *             nothing passes any more, in no direction, on no connection
 *   act       what the strike does meanwhile: kills a process, ends a backend, cuts the connection
 *   go on     what was held back passes, except what a client had sent that is gone; a server that lost its client reads
 *             to the end and hangs up, and with that it has done whatever it was ever going to do
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Protocol, Side } from "./crash-messages.ts";

export interface Message {
  readonly side: Side;
  /** As Latin-1. */
  readonly text: string;
  /** The message that opened the transaction at hand on this connection; "" outside of one. */
  readonly opening: string;
}

export interface Strike {
  /** Counts from 1. */
  readonly n: number;
  readonly when: "before" | "after";
  /** Which messages are counted. */
  readonly counts: (message: Message) => boolean;
  /** What is done while nothing passes. */
  readonly act: (struck: Connection) => void | Promise<void>;
}

/** A strike that has been prepared. */
export interface ArmedStrike {
  /** The kind of message that it struck at; `undefined` as long as it has not. */
  readonly struckAt: string | undefined;
  /** Messages that were counted so far. */
  readonly seen: number;
  /** Resolves when it has struck, its act is done, and the connections that lost a side are closed on both. */
  readonly over: Promise<void>;
  /** Calls it off, if it has not struck. */
  disarm(): void;
}

export interface Connection {
  /** PostgreSQL's process at its end; 0 before it has told. */
  readonly backendPid: number;
  /** Ends it for both sides at once. */
  cut(): void;
}

export interface CrashProxy extends AsyncDisposable {
  readonly port: number;
  /** Prepares the one strike that there can be at a time. */
  arm(strike: Strike): ArmedStrike;
  /** Ends every connection for both sides. */
  cutAll(): void;
  /** Where new connections lead. */
  target: Target;
}

export type Target = { readonly host: string; readonly port: number } | { readonly path: string };

interface Link extends Connection {
  backendPid: number;
  opening: string;
  readonly client: Socket;
  readonly server: Socket;
  readonly closed: Promise<unknown>;
  /** What waits for the world to go on, in order; what a side's end waits for too. */
  readonly held: (() => void)[];
}

interface Armed {
  readonly strike: Strike;
  readonly over: PromiseWithResolvers<void>;
  seen: number;
  struckAt: string | undefined;
}

export async function startCrashProxy(protocol: Protocol, target: Target): Promise<CrashProxy> {
  const links = new Set<Link>();
  let armed: Armed | undefined;
  let stopped = false;

  const listener = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const server = connect({ ...proxy.target, allowHalfOpen: true });
    const link: Link = {
      client,
      server,
      backendPid: 0,
      opening: "",
      held: [],
      closed: Promise.all([closeOf(client), closeOf(server)]),
      cut() {
        client.destroy();
        if (!server.writableEnded) server.end();
      },
    };
    links.add(link);
    void link.closed.then(() => links.delete(link));
    pass(link, "client", client, server);
    pass(link, "server", server, client);
  }).listen(0, "127.0.0.1");
  await once(listener, "listening");

  function pass(link: Link, side: Side, from: Socket, to: Socket): void {
    const split = protocol.split(side);
    const send = (message: Buffer, sent?: () => void): void => {
      if (side === "client" && link.client.destroyed) return;
      to.write(message, sent);
    };
    const end = (): void => {
      if (!to.writableEnded) to.end();
    };
    from.on("data", (chunk: Buffer) => {
      for (const message of split(chunk)) {
        link.opening = protocol.opens(side, message) ?? link.opening;
        link.backendPid = protocol.backendPid(side, message) ?? link.backendPid;
        if (!stopped && armed && isDue(armed, side, message, link)) {
          stopped = true;
          const last = armed.strike.when === "after" ? message : undefined;
          if (last) send(last);
          else link.held.push(() => send(message));
          void carryOut(armed, link);
        } else if (stopped) link.held.push(() => send(message));
        else send(message);
      }
    });
    const onEnd = (): void => {
      if (stopped) link.held.push(end);
      else end();
    };
    from.on("end", onEnd).on("close", onEnd);
    from.on("error", () => {}); // Its close follows.
  }

  function isDue(candidate: Armed, side: Side, message: Buffer, link: Link): boolean {
    const { strike } = candidate;
    const text = message.toString("latin1");
    if (!strike.counts({ side, text, opening: link.opening })) return false;
    candidate.seen += 1;
    if (candidate.seen !== strike.n) return false;
    candidate.struckAt = `${side} ${protocol.name(side, message)}`;
    return true;
  }

  async function carryOut({ strike, over }: Armed, struck: Link): Promise<void> {
    try {
      await Promise.all([...links].flatMap(({ client, server }) => [flushed(client), flushed(server)]));
      await strike.act(struck);
    } catch (error) {
      over.reject(error);
    }
    armed = undefined;
    stopped = false;
    const broken = [...links].filter(isBroken);
    for (const link of links) for (const go of link.held.splice(0)) go();
    await Promise.all(broken.map(({ closed }) => closed));
    over.resolve();
  }

  const proxy: CrashProxy = {
    port: portOf(listener.address()),
    target,
    arm(strike) {
      if (armed) throw new Error("a strike is armed already");
      const over = Promise.withResolvers<void>();
      over.promise.catch(() => {}); // Told to whoever waits for it.
      const mine: Armed = { strike, over, seen: 0, struckAt: undefined };
      armed = mine;
      return {
        get struckAt() {
          return mine.struckAt;
        },
        get seen() {
          return mine.seen;
        },
        over: over.promise,
        disarm() {
          if (armed === mine && !stopped) armed = undefined;
        },
      };
    },
    cutAll: () => links.forEach((link) => link.cut()),
    async [Symbol.asyncDispose]() {
      for (const { client, server } of links) {
        client.destroy();
        server.destroy();
      }
      listener.close();
      await once(listener, "close");
    },
  };
  return proxy;
}

function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** Resolves once all that was written is the kernel's, or the socket is gone. */
function flushed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed || socket.writableEnded) resolve();
    else socket.write("", () => resolve());
  });
}

function isBroken({ client, server }: Link): boolean {
  return [client, server].some((socket) => socket.destroyed || socket.readableEnded || socket.writableEnded);
}

function portOf(address: ReturnType<ReturnType<typeof createServer>["address"]>): number {
  if (address === null || typeof address === "string") throw new Error("it listens on TCP");
  return address.port;
}
