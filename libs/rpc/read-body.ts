export interface Body {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Ends the reading with `error`, at once, however long the sender takes. Does nothing once all was read. */
  readonly stop: (error: unknown) => void;
}

/**
 * Reads a request so that the reader can be stopped while he waits, and so that whoever stops reading early can still
 * answer: Node's own iterator would destroy the request, and with it an HTTP/1.1 connection.
 */
export function readBody(request: AsyncIterable<Uint8Array>): Body {
  let stopped: { readonly error: unknown } | undefined;
  let fail = (_error: unknown): void => {};
  return {
    stop(error) {
      stopped ??= { error };
      fail(stopped.error);
    },
    chunks: {
      [Symbol.asyncIterator]() {
        const source = request[Symbol.asyncIterator]();
        const next = () =>
          new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
            if (stopped) return reject(stopped.error);
            fail = reject;
            source.next().then(resolve, reject);
          });
        return { next };
      },
    },
  };
}
