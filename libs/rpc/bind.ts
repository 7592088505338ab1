import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";

/** Somebody else listens there. */
export class PortTakenError extends Error {
  override readonly name = "PortTakenError";
  readonly host: string;
  readonly port: number;

  constructor(host: string, port: number, options?: ErrorOptions) {
    super(`port ${port} on ${host} is taken`, options);
    this.host = host;
    this.port = port;
  }
}

export interface Address {
  readonly port: number;
  /** Where a client on this machine finds the server. */
  readonly url: string;
}

/** Makes `server` listen; port 0 takes any free one. Throws `PortTakenError`, and what else the system says as it is. */
export async function bind(server: Server, host: string, port: number): Promise<Address> {
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, "listening");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") {
      throw new PortTakenError(host, port, { cause: error });
    }
    throw error;
  }
  // A server that listens on host and port has an address of this form.
  const address = server.address() as AddressInfo;
  return { port: address.port, url: `http://${reachableHost(address)}:${address.port}` };
}

/** The wildcard addresses are no places to connect to. */
function reachableHost({ address, family }: AddressInfo): string {
  if (address === "0.0.0.0") return "127.0.0.1";
  if (address === "::") return "[::1]";
  return family === "IPv6" ? `[${address}]` : address;
}
