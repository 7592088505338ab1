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
  if (answers.at(-1)?.status === "rejected") await untilReady(client);
  clearTimeout(guard);
  const [first, ...rest] = answers;
  const last = rest.pop();
  if (!first || !last) throw new Error("unreachable: BEGIN and COMMIT are always sent");
  return { begin: first, statements: rest, commit: last, overdue };
}

/** The server tells why it refused a COMMIT before it tells the state after it, which may come in a packet of its own. */
async function untilReady(client: Client): Promise<void> {
  const { connection } = client;
  if (client.getTransactionStatus() === "I" || connection.stream.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  connection.once("readyForQuery", resolve);
  connection.stream.once("close", resolve);
  await promise;
  connection.off("readyForQuery", resolve);
  connection.stream.off("close", resolve);
}
