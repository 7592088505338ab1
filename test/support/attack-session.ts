import pg, { DatabaseError } from "pg";

/** A connection of one of the product's roles, in the hands of somebody who writes SQL. */
export interface AttackSession extends AsyncDisposable {
  /**
   * Runs a statement for a tenant, and undoes it. SQLSTATE, or the constraint that was broken; `done 3` when nobody
   * minded, with the number of rows.
   */
  attempt(text: string, tenant?: string): Promise<string>;
}

/** In this class the name of the constraint says more: integrity constraint violation. */
const constraintClass = "23";
const statementMs = 5_000;

export async function openAttackSession(url: string): Promise<AttackSession> {
  const client = new pg.Client({ connectionString: url, statement_timeout: statementMs });
  client.on("error", () => {}); // The query that was running tells.
  await client.connect();
  return {
    async attempt(text, tenant) {
      await client.query("BEGIN");
      try {
        if (tenant !== undefined) await client.query(`SET LOCAL app.tenant_id = '${tenant}'`);
        const { rowCount } = await client.query(text);
        await client.query("SET CONSTRAINTS ALL IMMEDIATE");
        return `done ${rowCount ?? 0}`;
      } catch (error) {
        if (!(error instanceof DatabaseError)) throw error;
        return (error.code?.startsWith(constraintClass) && error.constraint) || String(error.code);
      } finally {
        await client.query("ROLLBACK");
      }
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
