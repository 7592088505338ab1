import { Client } from "pg";

interface Connection {
  readonly application_name: string;
  readonly state: string | null;
  readonly query: string;
}

const dropText = /^DROP DATABASE (?:IF EXISTS )?"?(?<name>\w+)"?/;

/**
 * Looks, whenever a fixture drops its database, who is still connected to it: the drop itself puts them out, and what was
 * left open would never show. To see it in time, this stands in front of `Client.query` until it is disposed. `hangUpMs`
 * is how long the server may take to notice that a client has hung up.
 */
export function watchConnections(hangUpMs: number): Disposable & { left(): string[] } {
  const found: string[] = [];
  const original = Client.prototype.query;
  async function look(client: Client, name: string): Promise<void> {
    for (const connection of await connectionsLeft(client, name, hangUpMs))
      found.push(`${name}: ${describe(connection)}`);
  }
  Client.prototype.query = function query(this: Client, ...args: unknown[]): unknown {
    const send = (): unknown => Reflect.apply(original, this, args);
    const name = typeof args[0] === "string" ? dropText.exec(args[0])?.groups?.["name"] : undefined;
    return name === undefined ? send() : look(this, name).then(send);
  } as typeof original;
  return {
    left: () => [...found],
    [Symbol.dispose]: () => void (Client.prototype.query = original),
  };
}

/** Who is connected to a database other than `client`, once those who have just hung up are gone. */
async function connectionsLeft(
  client: Client,
  database: string,
  hangUpMs: number,
): Promise<readonly Connection[]> {
  const until = performance.now() + hangUpMs;
  for (;;) {
    const { rows } = await client.query<Connection>({
      text: `SELECT application_name, state, query FROM pg_stat_activity
              WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'`,
      values: [database],
    });
    if (rows.length === 0 || performance.now() > until) return rows;
    await client.query("SELECT pg_sleep(0.01)");
  }
}

function describe({ application_name: name, state, query }: Connection): string {
  const open = state?.startsWith("idle in transaction") || state === "active" ? "transaction" : "connection";
  return `database ${open} of ${name || "an unnamed client"}, ${state ?? "starting"}: ${query.slice(0, 80)}`;
}
