import type { Client, QueryResult } from "pg";
import type { SendableStatement } from "./prepare-statements.ts";

/** How the server answered each part of a transaction. Without an answer, a part is rejected with the connection's error. */
export interface Answers {
  readonly begin: PromiseSettledResult<unknown>;
  readonly statements: readonly PromiseSettledResult<QueryResult>[];
  readonly commit: PromiseSettledResult<QueryResult>;
  /** The answers were not all there in time, and the connection was destroyed. */
  readonly overdue: boolean;
}

/**
 * Sends BEGIN, the statements and COMMIT in one write and collects the answers, for at most `limitMs`: then it destroys
 * the connection, which answers whatever is left. Never rejects.
 */
export async function exchange(
  client: Client,
  begin: string,
  statements: readonly SendableStatement[],
  limitMs: number,
): Promise<Answers> {
  const { stream } = client.connection;
  let overdue = false;
  const guard = setTimeout(() => {
    overdue = true;
    stream.destroy();
  }, limitMs);

  stream.cork(); // One write, so that it is one packet, and one system call.
  const sent = [
    client.query(begin),
    ...statements.map((s) => client.query({ ...s })),
    client.query("COMMIT"),
  ];
  stream.uncork();

  const answers = await Promise.allSettled(sent);
  clearTimeout(guard);
  const [first, ...rest] = answers;
  const last = rest.pop();
  if (!first || !last) throw new Error("unreachable: BEGIN and COMMIT are always sent");
  return { begin: first, statements: rest, commit: last, overdue };
}
