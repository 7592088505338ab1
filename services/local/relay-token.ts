import { replaceFile } from "#libs/files/replace-file.ts";
import type { LocalIssuer, TokenClaims } from "#libs/local-issuer/local-issuer.ts";

/** Whom the relay is to the audit service. */
const relay: TokenClaims = {
  subject: "case-relay",
  kind: "service",
  roles: ["event_source"],
  sources: ["caseflow/case"],
};

/** A token is replaced this many times before it would expire: a machine that slept for a while catches up in time. */
const renewalsPerLifetime = 12;

/**
 * Keeps a valid token for the relay in the file `path`, mode 0600, replaced whole, until disposed. A renewal that fails
 * is told to `onError` and tried again at the next turn.
 */
export async function keepRelayToken(
  issuer: LocalIssuer,
  path: string,
  lifetimeSeconds: number,
  onError: (error: unknown) => void,
): Promise<Disposable> {
  const renew = async () => replaceFile(path, await issuer.sign(relay, lifetimeSeconds), 0o600);
  await renew();
  const everyMs = (lifetimeSeconds * 1_000) / renewalsPerLifetime;
  const timer = setInterval(() => void renew().catch(onError), everyMs);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
