import { once } from "node:events";
import {
  connect,
  constants,
  createServer,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";

/**
 * What stands between a client and a service. Where the service is reached at all, the call takes effect there before
 * anything goes wrong: that is when a retry is dangerous.
 *
 * `refuse`: nobody listens. `hang`: no answer. `reset`: TCP RST in the middle of the answer. `slow`: 30 ms later. `errors`: of
 * ten calls two fail before the service, one after it. `goaway`: each connection ends after five calls. `codes`: HTTP/2 resets
 * of all kinds, and a status of ABORTED.
 */
export type Weather = "fair" | "refuse" | "hang" | "reset" | "slow" | "errors" | "goaway" | "codes";

export interface OutageProxy extends AsyncDisposable {
  readonly url: string;
  /** Headers of every request that came, and when, on the clock of `performance.now()`. */
  readonly requests: { readonly headers: IncomingHttpHeaders; readonly at: number }[];
  turn(weather: Weather): Promise<void>;
  /** Ends every connection and listens again. */
  restart(): Promise<void>;
}

const slowMs = 30;

interface Answer {
  readonly head: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: IncomingHttpHeaders;
}

/**
 * Reads of `readPath` are all answered as the service answered the first: they are there to be many, and only writes can have an
 * effect.
 */
export async function startOutageProxy(target: string, readPath: string): Promise<OutageProxy> {
  const requests: { headers: IncomingHttpHeaders; at: number }[] = [];
  const sockets = new Set<Socket>();
  const callsOf = new WeakMap<ServerHttp2Session, number>();
  let weather: Weather = "fair";
  let readAnswer: Promise<Answer> | undefined;
  let backend: ClientHttp2Session | undefined;

  function toBackend(): ClientHttp2Session {
    if (backend === undefined || backend.closed || backend.destroyed) {
      backend = connect(target).on("error", () => {});
    }
    return backend;
  }

  function onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on("error", () => {});
    const index = requests.push({ headers, at: performance.now() });
    const session = stream.session as ServerHttp2Session | undefined; // A server's stream is of a server's session.
    const ownWeather = weather;
    if (ownWeather === "codes" && index % 4 === 0) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
    if (ownWeather === "codes" && index % 4 === 1) return answerStatus(stream, 10);
    if (ownWeather === "errors" && index % 10 < 2) return answerStatus(stream, 14);
    if (ownWeather === "goaway" && session) {
      const calls = (callsOf.get(session) ?? 0) + 1;
      callsOf.set(session, calls);
      if (calls === 5) session.close();
    }
    void forward(stream, headers, ownWeather, index);
  }

  /** The whole answer first, so that the effect is there whatever becomes of the answer. */
  async function forward(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    ownWeather: Weather,
    index: number,
  ): Promise<void> {
    const isRead = String(headers[":path"]).endsWith(readPath);
    const answer = isRead ? await (readAnswer ??= ask(stream, headers)) : await ask(stream, headers);
    if (isRead) stream.resume();
    const { head, body, trailers } = answer;
    if (stream.destroyed) return;
    if (ownWeather === "hang") return;
    if (ownWeather === "errors" && index % 10 === 2) return answerStatus(stream, 14);
    if (ownWeather === "codes") {
      return stream.close(index % 4 === 2 ? constants.NGHTTP2_CANCEL : constants.NGHTTP2_INTERNAL_ERROR);
    }
    if (ownWeather === "slow") await new Promise((resolve) => setTimeout(resolve, slowMs));
    if (stream.destroyed) return;
    const hasTrailers = Object.keys(trailers).length > 0;
    stream.respond(withoutConnection(head), { waitForTrailers: hasTrailers, endStream: !hasTrailers });
    if (!hasTrailers) return;
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    if (ownWeather === "reset") {
      stream.write(body.subarray(0, Math.ceil(body.length / 2)), () => setImmediate(resetSome));
      return;
    }
    stream.end(body);
  }

  async function ask(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<Answer> {
    const request = toBackend().request(withoutConnection(headers));
    request.on("error", () => stream.close(constants.NGHTTP2_CANCEL));
    stream.pipe(request);
    const answer = { head: {}, body: Buffer.alloc(0), trailers: {} };
    const chunks: Buffer[] = [];
    request.on("response", (head) => Object.assign(answer, { head }));
    request.on("trailers", (trailers) => Object.assign(answer, { trailers }));
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(request, "close").catch(() => {});
    return { ...answer, body: Buffer.concat(chunks) };
  }

  function resetSome(): void {
    for (const socket of sockets) socket.resetAndDestroy();
  }

  const server = createServer();
  server.on("stream", onStream);
  server.on("session", (session) => void session.on("error", () => {}));
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  });
  async function listen(port: number): Promise<number> {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port; // It listens on TCP.
  }
  async function shut(): Promise<void> {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  /** One change at a time. */
  let latest: Promise<unknown> = Promise.resolve();
  const change = (step: () => Promise<void>): Promise<void> => {
    const done = latest.then(() => step());
    latest = done.catch(() => {});
    return done;
  };
  const port = await listen(0);
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    turn: (next) =>
      change(async () => {
        weather = next;
        if (next === "refuse") await shut();
        else if (!server.listening) await listen(port);
      }),
    restart: () =>
      change(async () => {
        await shut();
        await listen(port);
      }),
    [Symbol.asyncDispose]: () =>
      change(async () => {
        await shut();
        backend?.destroy();
      }),
  };
}

function answerStatus(stream: ServerHttp2Stream, code: number): void {
  const head = { ":status": 200, "content-type": "application/grpc", "grpc-status": String(code) };
  stream.respond({ ...head, "grpc-message": "scripted" }, { endStream: true });
}

/** Everything but what belongs to one connection. */
function withoutConnection(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => name !== ":authority" && name !== ":scheme"),
  );
}
