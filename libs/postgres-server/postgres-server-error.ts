export type PostgresServerErrorKind =
  /** A folder that is needed cannot be written, or is not ours to write. */
  | "unwritable"
  /** Another server works on the same data. */
  | "already_running"
  /** The machine has not the locale that the data was made with. */
  | "locale"
  /** The server, or the making of its data folder, ended or did not answer in time. */
  | "start_failed"
  /** No binaries for this machine, or no `setpriv` on it. */
  | "unsupported_platform";

/**
 * Why there is no server. The message is one sentence for the person who started it; for `start_failed` the last lines
 * of the server's log follow it. Which setting names the folder is for the caller to add.
 */
export class PostgresServerError extends Error {
  override readonly name = "PostgresServerError";
  readonly kind: PostgresServerErrorKind;
  /** Of the other server, with `already_running`. */
  readonly pid: number | undefined;

  constructor(
    kind: PostgresServerErrorKind,
    message: string,
    options: { readonly pid?: number; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.kind = kind;
    this.pid = options.pid;
  }
}

/** Runs `write` and turns any refusal of the file system into `unwritable`, naming `folder`. */
export async function asUnwritable<T>(folder: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof Error && "code" in error) || error instanceof PostgresServerError) throw error;
    const message = `the folder ${folder} cannot be written (${String(error.code)})`;
    throw new PostgresServerError("unwritable", message, { cause: error });
  }
}
