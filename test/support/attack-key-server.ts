import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { AttackKey } from "./attack-keys.ts";

/** Publishes a key set over HTTP, and can fail in each way that one fails. */
export interface KeyServer extends AsyncDisposable {
  readonly url: string;
  /** Requests so far. */
  asked(): number;
  publish(keys: readonly AttackKey[]): void;
  /** Answers with this, whatever it is. */
  publishText(text: string): void;
  /** Answers from now on with 500, or not at all, or as it should. */
  answer(how: "well" | "with 500" | "never"): void;
  /** Closes the port, as if nothing ran there. */
  stop(): Promise<void>;
  /** Opens the same port again. */
  restart(): Promise<void>;
}

export async function startKeyServer(keys: readonly AttackKey[] = []): Promise<KeyServer> {
  let body = "";
  let manner: Parameters<KeyServer["answer"]>[0] = "well";
  let asked = 0;
  const publish = (next: readonly AttackKey[]): void => {
    body = JSON.stringify({ keys: next.map(({ jwk }) => jwk) });
  };
  publish(keys);
  const listen = async (port: number): Promise<Server> => {
    const opened = createServer((_, response: ServerResponse) => {
      asked += 1;
      if (manner === "never") return;
      response.writeHead(manner === "well" ? 200 : 500, { connection: "close" }).end(body);
    }).listen(port, "127.0.0.1");
    await once(opened, "listening");
    return opened;
  };
  let server = await listen(0);
  const { port } = server.address() as AddressInfo; // It listens on TCP.
  const stop = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  };
  return {
    url: `http://127.0.0.1:${port}/jwks`,
    asked: () => asked,
    publish,
    publishText: (text) => (body = text),
    answer: (how) => (manner = how),
    stop,
    async restart() {
      server = await listen(port);
    },
    [Symbol.asyncDispose]: stop,
  };
}
