/**
 * What is made at its first use, such as an instrument: one that is asked for before metrics are started measures nothing, for ever,
 * and modules are loaded before that.
 */
export function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}
