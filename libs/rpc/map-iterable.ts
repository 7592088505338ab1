export interface IterableHooks {
  /** Called with what the source throws; throws something in its place. */
  readonly onError?: (error: unknown) => never;
  /** Called when the source has come to its end. */
  readonly onEnd?: () => void;
}

/**
 * The same items, with a word to say about the end. A stream's handler runs while its answer is iterated, so this is how
 * an interceptor sees it end.
 */
export async function* mapIterable<T>(source: AsyncIterable<T>, hooks: IterableHooks): AsyncIterable<T> {
  try {
    yield* source;
  } catch (error) {
    hooks.onError?.(error);
    throw error;
  }
  hooks.onEnd?.();
}
