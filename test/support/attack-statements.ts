/** Every SQL statement of a service's store, with the names of one tenant's things for parameters. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Statement } from "#libs/pg/statement.ts";

/** One function of the store that makes a statement, called with the victim's things. */
export interface Attack {
  /** Of the function, in words after it when there is more than one. */
  readonly name: string;
  readonly role: "case_app" | "case_relay" | "audit_app" | "audit_signer";
  /** The tenant is the first parameter; everything else names what the victim has. */
  readonly make: (tenantId: string) => Statement;
  /** Finds done what it would do, also for the victim. */
  readonly idle?: true;
}

/** Names of the exported functions of a service's store that make a statement. */
export async function statementFunctions(service: "case" | "audit"): Promise<readonly string[]> {
  const folder = fileURLToPath(new URL(`../../services/${service}/store`, import.meta.url));
  const names = (await readdir(folder)).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"));
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
  return texts.flatMap((text) =>
    text
      .split(/^export function /m)
      .slice(1)
      .filter((after) => /\): Statement \{$/m.test(after.slice(0, after.indexOf("\n}\n"))))
      .map((after) => /^\w+/.exec(after)?.[0] ?? ""),
  );
}
