import { escapeLiteral } from "pg";

const settingPattern = /^[a-z_]+(\.[a-z_]+)?$/;

/**
 * The command that opens a READ COMMITTED transaction with settings of its own. `SET LOCAL` rather than `set_config()`:
 * a Citus coordinator carries only the former to its workers. It takes no parameters, so the values are written into
 * the text, escaped.
 */
export function beginText(readOnly: boolean, settings: Readonly<Record<string, string>>): string {
  const locals = Object.entries(settings).map(([name, value]) => {
    if (!settingPattern.test(name)) throw new TypeError(`${name}: not the name of a setting`);
    return `SET LOCAL ${name} = ${escapeLiteral(value)}`;
  });
  return [`BEGIN ISOLATION LEVEL READ COMMITTED${readOnly ? " READ ONLY" : ""}`, ...locals].join("; ");
}
