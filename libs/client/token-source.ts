import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock } from "#libs/resilience/clock.ts";

/** A token and how long it may be used from now on, as an OAuth answer's `expires_in` says. */
export interface TimedToken {
  readonly token: string;
  readonly validForMs: number;
}

/**
 * A bearer token, or what gives one. A source that gives a string is asked before every call: right for a file that somebody
 * else renews. One that gives a `TimedToken` is asked again shortly before that expires, and once the service does not
 * accept it any more.
 */
export type TokenSource = string | (() => string | TimedToken | Promise<string | TimedToken>);

export interface Tokens {
  /** Rejects with UNAUTHENTICATED when the source fails and no valid token is left; nothing was sent then. */
  current(): Promise<string>;
  /** The service does not accept this token: the source is asked before the next call. */
  discard(token: string): void;
}

interface Kept {
  readonly token: string;
  readonly renewAt: number;
  readonly expiresAt: number;
}

/** A token is renewed this long before it expires, or in the last fifth of its life, whichever is shorter. */
const renewAheadMs = 30_000;
const renewTimeoutMs = 10_000;
/** After a failure the source is left alone for this long, while the old token is valid. */
const renewPauseMs = 1_000;

/** Keeps the token of a source. However many calls wait, the source is asked once. */
export function createTokens(source: TokenSource, clock: Clock): Tokens {
  if (typeof source === "string") return { current: async () => source, discard: () => {} };
  const ask = source;
  let kept: Kept | undefined;
  let renewal: Promise<string> | undefined;
  let pausedUntil = 0;

  /** A source that never answers must not keep later calls from asking again. */
  function inTime<T>(answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`the token's source did not answer in ${renewTimeoutMs} ms`));
      const callOff = clock.after(renewTimeoutMs, late, "background");
      answer.then(resolve, reject).finally(callOff);
    });
  }

  async function renew(): Promise<string> {
    try {
      const given = await inTime(Promise.resolve(ask()));
      if (typeof given === "string") return given;
      const { token, validForMs } = given;
      const expiresAt = clock.now() + validForMs;
      kept = { token, expiresAt, renewAt: expiresAt - Math.min(renewAheadMs, validForMs / 5) };
      return token;
    } catch (error) {
      pausedUntil = clock.now() + renewPauseMs;
      throw new ConnectError("no token could be had", Code.Unauthenticated, undefined, undefined, error);
    } finally {
      renewal = undefined;
    }
  }

  return {
    async current() {
      const now = clock.now();
      if (kept === undefined || now >= kept.expiresAt) return (renewal ??= renew());
      // The old one is good for a while: nobody waits for the new one, and its failure fails nobody.
      if (now >= kept.renewAt && now >= pausedUntil) (renewal ??= renew()).catch(() => {});
      return kept.token;
    },
    discard(token) {
      if (kept?.token === token) kept = undefined;
    },
  };
}
