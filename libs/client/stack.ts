import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** The made-up people that a local stack makes tokens for; `otherTenant` is a caseworker of another tenant. */
export const tokenNames = [
  "caseworker",
  "reviewer",
  "reviewer2",
  "supervisor",
  "supervisor2",
  "auditor",
  "operator",
  "otherTenant",
] as const;

export type TokenName = (typeof tokenNames)[number];

export interface StackService {
  /** Where it is called, without a slash at the end. */
  readonly url: string;
  /** Where `/readyz`, `/metrics` and their like are. */
  readonly metricsUrl: string;
  readonly pid: number;
}

/** What a running local stack tells about itself in `stack.json`. */
export interface Stack {
  readonly version: 1;
  readonly case: StackService;
  readonly audit: StackService;
  /** `null` where the databases are not the stack's own. */
  readonly postgres: {
    readonly pid: number | null;
    /** Of the owner roles. */
    readonly caseUrl: string;
    readonly auditUrl: string;
    /** Of the application roles. */
    readonly caseAppUrl: string;
    readonly auditAppUrl: string;
  };
  /** File or URL of the keys that tokens are verified with. */
  readonly jwks: string;
  /** Empty when the tokens' issuer is not the stack's own. */
  readonly tokens: Readonly<Partial<Record<TokenName, string>>>;
}

export const stackFileName = "stack.json";

/** No stack runs with this folder. The message says how to start one. */
export class NoStack extends Error {
  override readonly name = "NoStack";
}

/**
 * Reads the stack that runs with the folder `home`. Throws `NoStack` when there is none, also when a killed one left its
 * file behind.
 */
export async function readStack(home: string): Promise<Stack> {
  const path = join(home, stackFileName);
  const none = new NoStack(`no stack is running with the folder ${home}: start it with npm start`);
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    const absent = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw absent ? none : error;
  });
  const stack: Stack = JSON.parse(text);
  if (stack.version !== 1) throw new Error(`${path} was written by another release`);
  if (!isAlive(stack.case.pid) || !isAlive(stack.audit.pid)) throw none;
  return stack;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM"; // Somebody else's, and alive.
  }
}
