import type { Statement } from "./statement.ts";

/**
 * An expression for which database this is, of 0-9, A-F and dots. It differs after a restore into another cluster or database,
 * and after a recovery or a failover, which start a new timeline.
 */
export const databaseIdentity = `
  concat_ws('.', (SELECT system_identifier FROM pg_control_system()),
                 (SELECT oid FROM pg_database WHERE datname = current_database()),
                 left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))`;

/** What a database's identity looks like. */
export const identityPattern = "[0-9A-F.]{1,64}";

/** Reads which database this is: one row. */
export const readDatabaseIdentity: Statement = {
  name: "read_database_identity",
  text: `SELECT ${databaseIdentity} AS identity`,
  values: [],
};

/** The columns of `readDatabaseIdentity`. */
export interface IdentityRow {
  readonly identity: string;
}
