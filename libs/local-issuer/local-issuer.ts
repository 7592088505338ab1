import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { SignJWT, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from "jose";

import { replaceFile } from "#libs/files/replace-file.ts";

/** What a token says about whoever carries it. */
export interface TokenClaims {
  readonly subject: string;
  /** Absent: the token belongs to no tenant. */
  readonly tenantId?: string;
  readonly roles: readonly string[];
  readonly kind: "person" | "service";
  /** Whom the subject, then a service, acts for; absent: for nobody else. Services refuse it of a person. */
  readonly onBehalfOf?: string;
  /** Which event sources the subject may speak for; absent: none. */
  readonly sources?: readonly string[];
}

export interface LocalIssuer {
  /** The key's public half, as a JWK set, for whoever verifies. */
  readonly jwksFile: string;
  sign(claims: TokenClaims, lifetimeSeconds: number): Promise<string>;
}

export interface IssuerNames {
  /** The tokens' `iss` and `aud`. */
  readonly issuer: string;
  readonly audience: string;
}

export const defaultIssuerNames: IssuerNames = { issuer: "caseflow-local", audience: "caseflow" };

/** RFC 8037's name; a verifier that pins RFC 9864's `Ed25519` has to accept both. */
const algorithm = "EdDSA";
const keyFileName = "issuer-key.json";
const jwksFileName = "jwks.json";

/**
 * Opens the issuer of `folder`, making its key on the first call: an Ed25519 JWK in `issuer-key.json`, mode 0600, with
 * the public half in `jwks.json`. For development only: whoever can read the folder can sign anything.
 *
 * One process at a time may create; any number may open.
 */
export async function createLocalIssuer(folder: string, names: IssuerNames): Promise<LocalIssuer> {
  const key = (await readKey(folder)) ?? (await createKey(folder));
  // Each time, so that a set lost or left behind by an interrupted start is mended.
  const { d: _private, ...publicHalf } = key;
  await replaceFile(
    join(folder, jwksFileName),
    `${JSON.stringify({ keys: [publicHalf] }, null, 2)}\n`,
    0o644,
  );
  return toIssuer(folder, key, names);
}

/** Opens the issuer of `folder`; `undefined` when there is no key yet. */
export async function openLocalIssuer(folder: string, names: IssuerNames): Promise<LocalIssuer | undefined> {
  const key = await readKey(folder);
  return key && toIssuer(folder, key, names);
}

async function createKey(folder: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair(algorithm, { crv: "Ed25519", extractable: true });
  const jwk = await exportJWK(privateKey);
  const key = { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: algorithm, use: "sig" };
  await replaceFile(join(folder, keyFileName), `${JSON.stringify(key)}\n`, 0o600);
  return key;
}

async function readKey(folder: string): Promise<JWK | undefined> {
  const path = join(folder, keyFileName);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const key: JWK = JSON.parse(text);
    await importJWK(key, algorithm);
    return key;
  } catch {
    throw new Error(`${path} holds no key of ours; remove it, and the next start makes a new one`);
  }
}

async function toIssuer(folder: string, key: JWK, names: IssuerNames): Promise<LocalIssuer> {
  const privateKey = await importJWK(key, algorithm);
  return {
    jwksFile: join(folder, jwksFileName),
    sign: ({ subject, tenantId, roles, kind, onBehalfOf, sources }, lifetimeSeconds) =>
      new SignJWT({
        ...(tenantId !== undefined && { tenant_id: tenantId }),
        roles: [...roles],
        kind,
        ...(onBehalfOf !== undefined && { act: { sub: onBehalfOf } }),
        ...(sources !== undefined && { sources: [...sources] }),
      })
        .setProtectedHeader({ alg: algorithm, typ: "JWT", ...(key.kid !== undefined && { kid: key.kid }) })
        .setIssuer(names.issuer)
        .setAudience(names.audience)
        .setSubject(subject)
        .setIssuedAt()
        .setExpirationTime(Math.floor(Date.now() / 1_000) + lifetimeSeconds)
        .sign(privateKey),
  };
}
