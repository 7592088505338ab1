import { createServer } from "node:net";

import { bind, PortTakenError } from "#libs/rpc/bind.ts";

import type { LocalConfig } from "./config.ts";
import { StartFailure } from "./start-failure.ts";

/**
 * Sees whether every port that the stack was told to use is free, before anything is started. Throws `StartFailure` naming
 * the setting of the first that is not.
 */
export async function checkPorts({ host, ports }: Pick<LocalConfig, "host" | "ports">): Promise<void> {
  const seen = new Map<number, string>();
  for (const [name, port] of Object.entries(ports)) {
    const other = seen.get(port);
    if (other !== undefined && port !== 0) {
      throw new StartFailure(
        `${name}: port ${port} is that of ${other} too; set one of them to another port`,
      );
    }
    seen.set(port, name);
    await checkPort(name, host, port);
  }
}

async function checkPort(name: string, host: string, port: number): Promise<void> {
  const server = createServer();
  try {
    await bind(server, host, port);
  } catch (error) {
    if (error instanceof PortTakenError) {
      const hint = "set it to another port, or to 0 for any free one";
      throw new StartFailure(`${name}: port ${port} on ${host} is taken by another program; ${hint}`);
    }
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const setting = code === "EACCES" ? name : "CASEFLOW_BIND";
    throw new StartFailure(`${setting}: cannot listen on ${host}:${port} (${code})`, { cause: error });
  }
  await new Promise((closed) => server.close(closed));
}
