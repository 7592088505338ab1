/**
 * One SQL command, ready to be sent.
 *
 * `name` is the prepared statement's name: each connection parses it once, at first use, and PostgreSQL may settle
 * on a generic plan after five uses. That plan follows the table's statistics of then: on a table that was empty, it
 * can stay a sequential scan until the next ANALYZE or the connection's end. One name always goes with one text;
 * a text that varies (optional filters) needs a name for each variant: what follows a colon tells variants apart, and metrics
 * leave it out. At most 63 bytes.
 *
 * `values` are strings, numbers, bigints, booleans, null, Dates, bytes, arrays of them, or plain objects (as JSON).
 */
export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
}
