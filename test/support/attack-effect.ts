import { DatabaseError, type Client } from "pg";
import type { Statement } from "#libs/pg/statement.ts";
import { digestsWithin } from "./attack-rows.ts";

/** Who runs a statement: a role, for a tenant or for none; the superuser where there is no role. */
export interface Acting {
  readonly role?: string;
  readonly tenant?: string;
}

export interface Effect {
  /** SQLSTATE, with the constraint where one was broken; `undefined` when the statement ran. */
  readonly refused: string | undefined;
  readonly rows: readonly unknown[];
  /** Whether any row of the victim's was written, changed or removed. */
  readonly changed: boolean;
}

/** Runs a statement in a transaction, looks what came of it, and undoes it. */
export async function effectOf(
  superuser: Client,
  { role, tenant }: Acting,
  { text, values }: Pick<Statement, "text" | "values">,
  victim: string,
): Promise<Effect> {
  await superuser.query("BEGIN");
  try {
    const before = await digestsWithin(superuser, victim);
    if (role !== undefined) await superuser.query(`SET LOCAL ROLE ${role}`);
    if (tenant !== undefined) await superuser.query(`SET LOCAL app.tenant_id = '${tenant}'`);
    const { rows } = await superuser.query({ text, values: [...values] });
    await superuser.query("RESET ROLE");
    const after = await digestsWithin(superuser, victim);
    return { refused: undefined, rows, changed: JSON.stringify(after) !== JSON.stringify(before) };
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    return { refused: error.constraint ?? error.code, rows: [], changed: false };
  } finally {
    await superuser.query("ROLLBACK");
  }
}
