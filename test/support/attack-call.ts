/** Calls by hand over the Connect protocol, with any header and any body. */
import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import { toBinary, type DescMethod, type Message } from "@bufbuild/protobuf";
import { readAnswer, type Answer } from "./attack-answer.ts";

export interface Attacker extends Disposable {
  /** `body` in place of a message is sent as it is. Without a token the call has none. */
  call(
    url: string,
    method: DescMethod,
    body: Message | Uint8Array,
    token?: string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Answer>;
}

/** Long enough on a busy machine. Streams that follow something end with their time. */
const unaryMs = 8_000;
const streamMs = 1_000;
/** Calls take turns on few connections, and wait for theirs. */
const answerMs = 25_000;

export function createAttacker(): Attacker {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  /** They take long, and each tenant may have 50 at a time, but 4 exports. */
  const streamAgent = new Agent({ keepAlive: true, maxSockets: 40 });
  const exportAgent = new Agent({ keepAlive: true, maxSockets: 4 });
  return {
    async call(url, method, body, token, headers = {}) {
      const streams = method.methodKind !== "unary";
      const ofStream = method.name === "ExportEvents" ? exportAgent : streamAgent;
      const bytes = body instanceof Uint8Array ? body : toBinary(method.input, body);
      const request = httpRequest(`${url}/${method.parent.typeName}/${method.name}`, {
        agent: streams ? ofStream : agent,
        method: "POST",
        headers: {
          "content-type": streams ? "application/connect+proto" : "application/proto",
          "connect-protocol-version": "1",
          "connect-timeout-ms": String(streams ? streamMs : unaryMs),
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...headers,
        },
      });
      request.end(streams ? envelope(bytes) : bytes);
      const [response] = await once(request, "response", { signal: AbortSignal.timeout(answerMs) });
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      return readAnswer(method, response.statusCode, response.headers, Buffer.concat(chunks));
    },
    [Symbol.dispose]() {
      agent.destroy();
      streamAgent.destroy();
      exportAgent.destroy();
    },
  };
}

function envelope(bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}
