/** Rows are missing, or contradict each other, without which the log's tree cannot be what its size says. */
export class TreeDamagedError extends Error {
  override readonly name = "TreeDamagedError";
}
