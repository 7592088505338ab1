import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface StaticServer extends AsyncDisposable {
  /** Of the folder that the files are in. */
  readonly url: string;
  /** How many requests there were. */
  asked(): number;
}

/** What becomes of an answer; `number` counts requests from 1. */
export type Spoil = (
  response: ServerResponse,
  bytes: Uint8Array,
  path: string,
  number: number,
) => "spoiled" | "well";

/** Serves files by their paths, below a path of its own. `spoil` may answer in its stead. */
export async function serveFiles(
  files: ReadonlyMap<string, Uint8Array>,
  spoil: Spoil = () => "well",
): Promise<StaticServer> {
  const prefix = "/logs/acme/";
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    const path = request.url?.slice(prefix.length) ?? "";
    const bytes = files.get(path);
    if (bytes === undefined) response.writeHead(404).end();
    else if (spoil(response, bytes, path, asked) === "well") response.end(bytes);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${prefix}`,
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
