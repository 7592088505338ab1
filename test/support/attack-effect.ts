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

/** What a victim has, by connection and victim: read once, as nothing that is tried here lasts. */
const victims = new WeakMap<Client, Map<string, string>>();

async function readVictim(superuser: Client, victim: string): Promise<string> {
  const known = victims.get(superuser) ?? new Map<string, string>();
  victims.set(superuser, known);
  const digests = known.get(victim) ?? JSON.stringify(await digestsWithin(superuser, victim));
  known.set(victim, digests);
  return digests;
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
    const before = await readVictim(superuser, victim);
    if (role !== undefined) await superuser.query(`SET LOCAL ROLE ${role}`);
    if (tenant !== undefined) await superuser.query(`SET LOCAL app.tenant_id = '${tenant}'`);
    const { rows } = await superuser.query({ text, values: [...values] });
    await superuser.query("RESET ROLE");
    const after = await digestsWithin(superuser, victim);
    return { refused: undefined, rows, changed: JSON.stringify(after) !== before };
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    return { refused: error.constraint ?? error.code, rows: [], changed: false };
  } finally {
    await superuser.query("ROLLBACK");
  }
}
