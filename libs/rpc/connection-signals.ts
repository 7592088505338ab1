import { createContextKey } from "@connectrpc/connect";

/**
 * Aborted as soon as the server begins to stop, while `context.signal` still lets calls finish. A stream without an end
 * of its own looks at it, and ends, so that its caller goes elsewhere before the time for draining is up.
 */
export const stoppingKey = createContextKey<AbortSignal>(new AbortController().signal, {
  description: "server stopping",
});

/** Aborted once the answer is out, or the caller has gone before that. */
export const goneKey = createContextKey<AbortSignal>(new AbortController().signal, {
  description: "caller gone",
});

/** Ends the reading of the request with an error, at once, and does nothing once it was read. */
export const stopReadingKey = createContextKey<(error: unknown) => void>(() => {}, {
  description: "stop reading",
});
