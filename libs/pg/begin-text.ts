import { escapeLiteral, type Client } from "pg";

const settingPattern = /^[a-z_]+(\.[a-z_]+)?$/;

/** How many transactions each connection has begun. */
const transactions = new WeakMap<Client, number>();

/**
 * The command that opens a READ COMMITTED transaction on a connection, with settings of its own. `SET LOCAL` rather than
 * `set_config()`: a Citus coordinator carries only the former to its workers. It takes no parameters, so the values are
 * written into the text, escaped.
 *
 * Now and then it lets go of the connection's plans, those of foreign keys among them: the plan that PostgreSQL settles on
 * after five uses is made for the tables as they were then, and in almost empty ones all indexes look alike; one that leads
 * with the tenant alone then reads all that the tenant has, until the next ANALYZE.
 */
export function beginText(
  client: Client,
  readOnly: boolean,
  settings: Readonly<Record<string, string>>,
): string {
  const locals = Object.entries(settings).map(([name, value]) => {
    if (!settingPattern.test(name)) throw new TypeError(`${name}: not the name of a setting`);
    return `SET LOCAL ${name} = ${escapeLiteral(value)}`;
  });
  const count = (transactions.get(client) ?? 0) + 1;
  transactions.set(client, count);
  return [
    `BEGIN ISOLATION LEVEL READ COMMITTED${readOnly ? " READ ONLY" : ""}`,
    ...locals,
    ...(hasOutgrownPlans(count) ? ["DISCARD PLANS"] : []),
  ].join("; ");
}

/** At the 8th transaction, and each time that there have been twice as many. */
function hasOutgrownPlans(count: number): boolean {
  return count >= 8 && Number.isInteger(Math.log2(count));
}
