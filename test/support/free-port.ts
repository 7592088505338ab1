import { once } from "node:events";
import { createServer } from "node:net";
import { bind, PortTakenError } from "#libs/rpc/bind.ts";

/** Below those that the system gives to connections and to whoever asks for any port. */
const [portMin, portMax] = [15_000, 30_000];

/** A port of the loopback interface that nobody listens on, and that nobody gets who does not ask for it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = portMin + Math.floor(Math.random() * (portMax - portMin));
    const server = createServer();
    try {
      await bind(server, "127.0.0.1", port);
    } catch (error) {
      if (error instanceof PortTakenError) continue;
      throw error;
    }
    server.close();
    await once(server, "close");
    return port;
  }
}
