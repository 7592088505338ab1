import { hash } from "node:crypto";

import { errors, jwtVerify, type JWTPayload } from "jose";

import { createKeySet, type Keys } from "./key-set.ts";
import type { Principal } from "./principal.ts";

export type TokenFault =
  | "too_long"
  | "malformed"
  | "algorithm"
  | "unknown_key"
  | "signature"
  | "expired"
  | "not_yet_valid"
  | "issuer"
  | "audience"
  | "claims"
  | "keys_unavailable";

/** A token that does not verify, or, with `keys_unavailable`, cannot be verified. */
export class TokenError extends Error {
  override readonly name = "TokenError";
  readonly why: TokenFault;

  constructor(why: TokenFault, options?: ErrorOptions) {
    super(messages[why], options);
    this.why = why;
  }
}

export interface TokenVerifier {
  /** Throws `TokenError`. */
  verify(token: string): Promise<Principal>;
}

export interface TokenVerifierOptions {
  /** The JWK set: an http(s) URL, a file: URL or a path. */
  readonly jwks: string;
  readonly issuer: string;
  readonly audience: string;
  readonly clockToleranceSeconds: number;
  readonly now?: () => Date;
  /** Told when the key set could not be loaded; the keys that are known go on. */
  readonly onKeysFailure?: (error: unknown) => void;
}

const messages: Record<TokenFault, string> = {
  too_long: "the token is too long",
  malformed: "the token is malformed",
  algorithm: "the token is signed with an algorithm that is not accepted",
  unknown_key: "the token is signed with an unknown key",
  signature: "the token's signature does not fit",
  expired: "the token has expired",
  not_yet_valid: "the token is not valid yet",
  issuer: "the token is not from the expected issuer",
  audience: "the token is meant for another audience",
  claims: "the token's claims are incomplete or malformed",
  keys_unavailable: "the keys to verify tokens with are not available",
};

const algorithms = ["EdDSA", "ES256"];
const tokenCharsMax = 8_192;
const verifiedMax = 2_048;
/** Events tell the roles of who acted: no more than they can hold. */
const rolesMax = 32;
const sourcesMax = 64;

interface Verified {
  readonly principal: Principal;
  /** What it was verified with. */
  readonly keys: Keys;
}

/**
 * Verifies JWTs with the keys of one set and no other: what a token itself says about keys (`jku`, `jwk`, `x5u`) counts
 * for nothing. Verified tokens are remembered, by their SHA-256, until they expire or the key set changes.
 */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { issuer, audience, clockToleranceSeconds, now = () => new Date() } = options;
  const keySet = createKeySet({
    location: options.jwks,
    now,
    onFailure: options.onKeysFailure ?? (() => {}),
  });
  const verified = new Map<string, Verified>();

  async function check(token: string, keys: Keys): Promise<Principal> {
    const { payload } = await jwtVerify(token, keys.find, {
      algorithms,
      issuer,
      audience,
      requiredClaims: ["exp", "sub"],
      clockTolerance: clockToleranceSeconds,
      currentDate: now(),
    });
    return toPrincipal(payload);
  }

  /** Looks for the key once more when it is not in the set: it may be new. */
  async function checkWithAny(token: string, keys: Keys): Promise<Verified> {
    try {
      return { principal: await check(token, keys), keys };
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      const renewed = await keySet.renewed();
      if (renewed === undefined || renewed === keys) throw error;
      return { principal: await check(token, renewed), keys: renewed };
    }
  }

  return {
    async verify(token) {
      if (token.length > tokenCharsMax) throw new TokenError("too_long");
      const keys = await keySet.current();
      if (keys === undefined) throw new TokenError("keys_unavailable");
      const id = hash("sha256", token, "base64");
      const known = verified.get(id);
      if (known?.keys === keys && !isOver(known.principal.expiresAt, now(), clockToleranceSeconds)) {
        return known.principal;
      }
      verified.delete(id);
      try {
        const checked = await checkWithAny(token, keys);
        remember(verified, id, checked);
        return checked.principal;
      } catch (error) {
        throw toTokenError(error);
      }
    },
  };
}

/** The oldest makes room. */
function remember(verified: Map<string, Verified>, id: string, entry: Verified): void {
  const oldest = verified.size >= verifiedMax ? verified.keys().next().value : undefined;
  if (oldest !== undefined) verified.delete(oldest);
  verified.set(id, entry);
}

/** Seconds are whole, as in the check of the token itself. */
function isOver(expiresAt: Date, now: Date, toleranceSeconds: number): boolean {
  return expiresAt.getTime() / 1_000 <= Math.floor(now.getTime() / 1_000) - toleranceSeconds;
}

/** Anything but a fault of the token is thrown as it is. */
function toTokenError(error: unknown): unknown {
  if (error instanceof TokenError || !(error instanceof errors.JOSEError)) return error;
  return new TokenError(whyOf(error), { cause: error });
}

function whyOf(error: errors.JOSEError): TokenFault {
  if (error instanceof errors.JWTExpired) return "expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    switch (error.claim) {
      case "iss":
        return "issuer";
      case "aud":
        return "audience";
      case "nbf":
        return "not_yet_valid";
      default:
        return "claims";
    }
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return "algorithm";
  if (error instanceof errors.JWKSNoMatchingKey) return "unknown_key";
  if (error instanceof errors.JWKSMultipleMatchingKeys) return "unknown_key";
  if (error instanceof errors.JWSSignatureVerificationFailed) return "signature";
  return "malformed";
}

const idPattern = /^[\x21-\x7e]{1,128}$/;
const tenantPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;

function toPrincipal(claims: JWTPayload): Principal {
  const { sub, exp, tenant_id: tenantId, kind = "person", act, roles = [], sources = [] } = claims;
  const onBehalfOf = act === undefined ? undefined : readOnBehalfOf(act);
  const expiresAt = new Date((exp ?? Number.NaN) * 1_000);
  const sound =
    isId(sub) &&
    (kind === "person" || kind === "service") &&
    (tenantId === undefined || (typeof tenantId === "string" && tenantPattern.test(tenantId))) &&
    // A program lends its voice to others; a person who could would speak with two.
    (act === undefined || (kind === "service" && isId(onBehalfOf))) &&
    isIdList(roles, rolesMax) &&
    isIdList(sources, sourcesMax) &&
    !Number.isNaN(expiresAt.getTime());
  if (!sound) throw new TokenError("claims");
  return { id: sub, kind, tenantId, roles, onBehalfOf, sources, expiresAt };
}

/**
 * `act.sub` names whom the token's subject, a program, acts for. That is the reverse of RFC 8693, section 4.1, where `act`
 * names the actor and the subject is whom it acts for. Of chained actors the outermost counts, as there.
 */
function readOnBehalfOf(act: unknown): string | undefined {
  if (typeof act !== "object" || act === null || !("sub" in act)) return undefined;
  return typeof act.sub === "string" ? act.sub : undefined;
}

function isId(value: unknown): value is string {
  return typeof value === "string" && idPattern.test(value);
}

function isIdList(value: unknown, countMax: number): value is string[] {
  return Array.isArray(value) && value.length <= countMax && value.every(isId);
}
