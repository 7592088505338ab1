import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";

import { Fault } from "#libs/fault/fault.ts";
import { orAbort } from "#libs/resilience/or-abort.ts";

import { principalKey, type Principal, verifyAgainKey } from "./principal.ts";
import { TokenError, type TokenFault, type TokenVerifier } from "./verify-token.ts";

/** Who may call a method. */
export interface MethodAuthz {
  /** At least one of these; empty: any principal. */
  readonly roles: readonly string[];
  /** The message and not the token names the tenant. */
  readonly tenantFromMessage: boolean;
}

export type AuthFailure = "missing" | "forbidden" | TokenFault;

export interface AuthenticateOptions<R extends string> {
  readonly verifier: TokenVerifier;
  /** `undefined`: the method is refused to everybody. */
  readonly authz: (method: DescMethod) => MethodAuthz | undefined;
  /** Told of each call that does not pass, and why: `missing`, `forbidden`, or what is wrong with the token. */
  readonly onFailure?: (why: AuthFailure) => void;
  /** Services that need no token, as health and reflection. */
  readonly open: (service: DescService) => boolean;
  readonly reasons: {
    /** No token, or one that does not verify; metadata `why` says which. */
    readonly unauthenticated: R;
    readonly forbidden: R;
    /** Nobody can be told apart, since there are no keys to verify with. */
    readonly unavailable: R;
  };
}

const bearerPattern = /^Bearer ([\w.~+/-]+=*)$/i;

/**
 * Lets a call pass whose bearer token verifies and may call the method, and keeps the principal with the call. Runs
 * before the body is read, so that strangers cannot make the service take in messages.
 */
export function authenticate<R extends string>(
  options: AuthenticateOptions<R>,
): (context: HandlerContext) => Promise<void> {
  const { verifier, authz, open, reasons, onFailure } = options;
  return async ({ service, method, requestHeader, values, signal }) => {
    if (open(service)) return;
    // A look for keys may take longer than the caller has.
    const authorization = requestHeader.get("authorization");
    const verify = () => identify(verifier, authorization, reasons);
    const principal = await orAbort(identify(verifier, authorization, reasons, onFailure), signal);
    values.set(principalKey, principal);
    values.set(verifyAgainKey, verify);
    if (!mayCall(principal, authz(method))) {
      onFailure?.("forbidden");
      throw new Fault(reasons.forbidden, {}, { message: `not allowed to call ${method.name}` });
    }
  };
}

async function identify<R extends string>(
  verifier: TokenVerifier,
  authorization: string | null,
  reasons: AuthenticateOptions<R>["reasons"],
  onFailure?: AuthenticateOptions<R>["onFailure"],
): Promise<Principal> {
  const token = bearerPattern.exec(authorization ?? "")?.[1];
  if (token === undefined) {
    onFailure?.("missing");
    throw new Fault(reasons.unauthenticated, { why: "missing" }, { message: "a bearer token is required" });
  }
  try {
    return await verifier.verify(token);
  } catch (cause) {
    if (!(cause instanceof TokenError)) throw cause;
    onFailure?.(cause.why);
    if (cause.why === "keys_unavailable") {
      throw new Fault(reasons.unavailable, {}, { message: "tokens cannot be verified right now", cause });
    }
    throw new Fault(reasons.unauthenticated, { why: cause.why }, { message: cause.message, cause });
  }
}

function mayCall(principal: Principal, rule: MethodAuthz | undefined): boolean {
  if (rule === undefined) return false;
  if (principal.tenantId === undefined && !rule.tenantFromMessage) return false;
  return rule.roles.length === 0 || rule.roles.some((role) => principal.roles.includes(role));
}
