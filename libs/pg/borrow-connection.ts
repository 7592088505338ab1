import { Pool, type Client } from "pg";
import { checkOut, type CheckOutOptions } from "./check-out.ts";
import { NotConnectedError } from "./transaction-errors.ts";

export interface BorrowedConnection extends Disposable {
  readonly client: Client;
  /** When false at the end, the connection is destroyed. */
  reusable: boolean;
}

/**
 * Takes a connection from a pool, or a client as it is, for one transaction, and gives it back when disposed.
 *
 * Throws what `checkOut` throws, `NotConnectedError` when the connection has been lost meanwhile, and an error when
 * it is not pipelined or was left inside a transaction by its last user.
 */
export async function borrowConnection(
  on: Pool | Client,
  options: CheckOutOptions,
): Promise<BorrowedConnection> {
  const pooled = on instanceof Pool ? await checkOut(on, options) : undefined;
  const client = pooled?.client ?? (on as Client); // No pool, so the client itself.
  const borrowed: BorrowedConnection = {
    client,
    reusable: true,
    [Symbol.dispose]() {
      if (!this.reusable) client.connection.stream.destroy();
      pooled?.giveBack(!this.reusable);
    },
  };
  const fault = findFault(client);
  if (!fault) return borrowed;
  borrowed.reusable = false;
  borrowed[Symbol.dispose]();
  throw fault;
}

function findFault(client: Client): Error | undefined {
  if (!client.pipeline) return new TypeError("a transaction in one round trip needs a pipelined client");
  if (!client.connection.stream.writable)
    return new NotConnectedError("the connection was lost before its use");
  if (client.getTransactionStatus() !== "I")
    return new Error("the connection was handed over inside a transaction");
  return undefined;
}
