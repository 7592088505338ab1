import { createHook } from "node:async_hooks";

/*
 * What is open in this process, by the runtime's own account: every handle and timer tells when it is made and when it is
 * gone (async_hooks), also one that does not keep the process alive. Resources made before the hook was enabled, and those
 * that the test runner and this check make for themselves, do not count.
 */

/** What counts, in words. */
const kinds: Readonly<Record<string, string>> = {
  TCPWRAP: "TCP socket",
  PIPEWRAP: "Unix socket or pipe",
  TCPSERVERWRAP: "TCP server",
  PIPESERVERWRAP: "Unix socket server",
  UDPWRAP: "UDP socket",
  PROCESSWRAP: "child process",
  FSEVENTWRAP: "file watcher",
  STATWATCHER: "file watcher",
  WORKER: "worker thread",
  Timeout: "timer",
};

interface Resource {
  readonly kind: string;
  /** Its stack says who made the resource; it is written out only when asked for. */
  readonly made: Error;
  readonly handle: WeakRef<object>;
}

/** What Node's handles of TCP sockets and servers can tell. */
interface Addressable {
  getsockname?(address: Address): number;
  getpeername?(address: Address): number;
}

interface Address {
  readonly address?: string;
  readonly port?: number;
}

/** A socket is made far below the code that asked for it; timers are many, and made near it. */
const stackFramesMax = { others: 30, timer: 8 };
const framesShown = 4;
/** The runner's own timers and channels, and ours. */
const ofRunner = /node_modules\/(?:vitest|@vitest|vite)\/|\/support\/leak-watch\.ts/;
/**
 * What Node keeps for the whole process, or cannot be cancelled; and the idle timer that connect-node 2.2 starts once more
 * for a connection that has ended when one of its streams closes after it. None keeps the process alive.
 */
const harmless = /AbortSignal\.timeout|utcDate|bootstrap\/switches|resetIdleTimeout .*http2-session-manager/;

const open = new Map<number, Resource>();
const hook = createHook({
  trackPromises: false,
  init(id, type, _trigger, handle) {
    const kind = kinds[type];
    if (kind === undefined) return;
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = type === "Timeout" ? stackFramesMax.timer : stackFramesMax.others;
    open.set(id, { kind, made: new Error(kind), handle: new WeakRef(handle) });
    Error.stackTraceLimit = limit;
  },
  destroy: (id) => void open.delete(id),
});

/** Counts from now on what is opened; until the disposal of what is returned. */
export function watchHandles(): Disposable & { left(): string[] } {
  open.clear();
  hook.enable();
  return {
    left: () => [...open.values()].flatMap(describe),
    [Symbol.dispose]: () => void hook.disable(),
  };
}

/** One line for a resource that counts, none for another. */
function describe({ kind, made, handle }: Resource): string[] {
  const stack = made.stack ?? "";
  const frames = stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line) && !line.includes("/leak-handles.ts"));
  const outside = frames.filter((line) => !/\(?node:/.test(line));
  if (harmless.test(stack) || ofRunner.test(outside[0] ?? "")) return [];
  const ours = outside.filter((line) => !line.includes("/node_modules/"));
  const told = (ours.length > 0 ? ours : outside).slice(0, framesShown).map((line) => line.trim());
  // Without a frame, Node made it after waiting for something: a peer, or a name that it looked up.
  return [[kind, addressesOf(handle.deref() ?? {}), ...told].filter((part) => part !== "").join(" ")];
}

function addressesOf(handle: Addressable): string {
  const own: Address = {};
  const peer: Address = {};
  handle.getsockname?.(own);
  handle.getpeername?.(peer);
  return [own, peer]
    .flatMap(({ address, port }) => (address === undefined ? [] : [`${address}:${port}`]))
    .join(" to ");
}
