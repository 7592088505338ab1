import type { Socket } from "node:net";

const http2Preface = "PRI";

/**
 * Waits for the first bytes, which tell HTTP/2 from HTTP/1.1, puts them back and leaves the socket paused. A connection
 * that sends none in time, or has sent none when `over` is aborted, is closed.
 */
export function readProtocol(
  socket: Socket,
  firstBytesMs: number,
  over: AbortSignal,
  found: (protocol: "http1" | "http2") => void,
): void {
  const giveUp = () => socket.destroy();
  if (over.aborted) return void giveUp();
  let seen = Buffer.alloc(0);
  const look = (bytes: Buffer) => {
    seen = Buffer.concat([seen, bytes]);
    const start = seen.toString("latin1", 0, http2Preface.length);
    if (start !== http2Preface && http2Preface.startsWith(start)) return;
    release();
    socket.pause();
    socket.unshift(seen);
    found(start === http2Preface ? "http2" : "http1");
  };
  const release = () => {
    clearTimeout(timer);
    socket.off("data", look).off("end", giveUp).off("close", release);
    over.removeEventListener("abort", giveUp);
  };
  const timer = setTimeout(giveUp, firstBytesMs).unref();
  socket.on("data", look).once("end", giveUp).once("close", release);
  over.addEventListener("abort", giveUp);
}
