import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";

type Side = "client" | "server";

export interface PostgresProxy extends AsyncDisposable {
  readonly tcpUrl: string;
  readonly unixUrl: string;
  /** How often the client sent something since the last reset. */
  writes(): number;
  /** What clients sent since the last reset, in the order in which it arrived here, as Latin-1. */
  sent(): string;
  /** Connections that are open, by the application name in their first message. */
  openConnections(applicationName: string): number;
  /** Drops the connection once `side` says `text`, which and whose rest does not arrive. Counts once. */
  cutBefore(side: Side, text: string): void;
  /** How long what the server says takes, from here on and until the next reset; in milliseconds. */
  delayMs: number;
  /** Replaces what the client sends. Both are of one length. */
  rewrite(from: string, to: string): void;
  reset(): void;
}

/** Stands between a client and the database of `url`, over TCP and over a Unix socket. */
export async function startPostgresProxy(url: string): Promise<PostgresProxy> {
  const { host, port, user = "", password, database = "" } = new Client(url);
  const folder = await mkdtemp(join(tmpdir(), "proxy-"));
  const sockets = new Map<Socket, string>();
  let writes = 0;
  let sent: string[] = [];
  let cut: { side: Side; text: string } | undefined;
  let replacement: { from: string; to: string } | undefined;

  const serve = (client: Socket) => {
    const server = host.startsWith("/") ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host);
    const drop = () => {
      client.destroy();
      server.destroy();
      sockets.delete(client);
    };
    const pass = (side: Side, to: Socket) => (chunk: Buffer) => {
      let text = chunk.toString("latin1");
      if (side === "client") {
        writes += 1;
        sent.push(text);
      }
      if (side === "client" && replacement) text = text.replace(replacement.from, replacement.to);
      if (side === "server" && proxy.delayMs > 0)
        return setTimeout(() => !to.destroyed && to.write(text, "latin1"), proxy.delayMs);
      const at = cut?.side === side ? text.indexOf(cut.text) : -1;
      if (at === -1) return to.write(text, "latin1");
      cut = undefined;
      return to.write(text.slice(0, at), "latin1", drop);
    };
    client.once("data", (first: Buffer) => sockets.set(client, first.toString("latin1")));
    client.on("data", pass("client", server)).on("close", drop).on("error", drop);
    server.on("data", pass("server", client)).on("close", drop).on("error", drop);
  };
  const overTcp = createServer(serve).listen(0, "127.0.0.1");
  const overUnix = createServer(serve).listen(join(folder, ".s.PGSQL.5432"));
  await Promise.all([once(overTcp, "listening"), once(overUnix, "listening")]);
  const { port: tcpPort } = overTcp.address() as AddressInfo; // It listens on TCP.
  const who = password ? `${user}:${encodeURIComponent(password)}` : user;
  const proxy: PostgresProxy = {
    delayMs: 0,
    tcpUrl: `postgresql://${who}@127.0.0.1:${tcpPort}/${database}`,
    unixUrl: `postgresql://${who}@${encodeURIComponent(folder)}/${database}`,
    writes: () => writes,
    sent: () => sent.join(""),
    openConnections: (name) => [...sockets.values()].filter((first) => first.includes(`\0${name}\0`)).length,
    cutBefore: (side, text) => (cut = { side, text }),
    rewrite: (from, to) => (replacement = { from, to }),
    reset() {
      writes = 0;
      sent = [];
      cut = undefined;
      replacement = undefined;
      proxy.delayMs = 0;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.keys()) socket.destroy();
      for (const server of [overTcp, overUnix]) await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true });
    },
  };
  return proxy;
}
