import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLocalIssuer } from "#libs/local-issuer/local-issuer.ts";

export interface TokenOptions {
  /** Absent: the token belongs to no tenant. */
  readonly tenant?: string;
  readonly sub: string;
  readonly roles: readonly string[];
  /** Absent: a person. */
  readonly kind?: "person" | "service";
  readonly sources?: readonly string[];
  readonly onBehalfOf?: string;
  /** Absent: ten minutes. Negative: it has expired. */
  readonly expiresInSeconds?: number;
}

export interface Issuer extends AsyncDisposable {
  /** What a service is told to verify with. */
  readonly jwks: string;
  readonly issuer: string;
  readonly audience: string;
  token(options: TokenOptions): Promise<string>;
}

const names = { issuer: "https://issuer.test", audience: "caseflow-test" };
const lifetimeSeconds = 600;

/** An issuer with a key of its own in a folder of its own, which goes when it is disposed. */
export async function createIssuer(): Promise<Issuer> {
  const folder = await mkdtemp(join(tmpdir(), "caseflow-issuer-"));
  const issuer = await createLocalIssuer(folder, names);
  return {
    jwks: issuer.jwksFile,
    ...names,
    token: ({
      tenant,
      sub,
      roles,
      kind = "person",
      sources,
      onBehalfOf,
      expiresInSeconds = lifetimeSeconds,
    }) =>
      issuer.sign(
        {
          subject: sub,
          roles,
          kind,
          ...(tenant !== undefined && { tenantId: tenant }),
          ...(sources !== undefined && { sources }),
          ...(onBehalfOf !== undefined && { onBehalfOf }),
        },
        expiresInSeconds,
      ),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
