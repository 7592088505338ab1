import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { Client } from "pg";

export interface SlowLink extends AsyncDisposable {
  /** The database's URL, by way of the link. */
  readonly url: string;
}

/** A way to the database of `url` on which everything that is sent takes `delayMs`; answers come back at once. */
export async function openSlowLink(url: string, delayMs: number): Promise<SlowLink> {
  const { host, port, user = "", password, database = "" } = new Client(url);
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const backend = host.startsWith("/") ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host);
    const drop = () => {
      client.destroy();
      backend.destroy();
      sockets.delete(client);
    };
    sockets.add(client);
    client.on("data", (chunk: Buffer) => setTimeout(() => backend.write(chunk), delayMs));
    backend.on("data", (chunk: Buffer) => client.write(chunk));
    for (const socket of [client, backend]) socket.on("close", drop).on("error", drop);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port: ownPort } = server.address() as AddressInfo; // It listens on TCP.
  const who = password ? `${user}:${encodeURIComponent(password)}` : user;
  return {
    url: `postgresql://${who}@127.0.0.1:${ownPort}/${database}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
