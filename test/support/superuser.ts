import pg from "pg";

/** A connection as the superuser, to look at and tamper with what no role of the product may. */
export async function openSuperuser(superuserUrl: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: superuserUrl });
  client.on("error", () => {}); // A test may kill the server; the query that was running tells.
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}
