import { Fault } from "#libs/fault/fault.ts";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import type { Reason } from "../domain/reason.ts";

export interface PageRequest {
  readonly size: number;
  /** Empty: from the start. */
  readonly token: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Empty: this was the last page. */
  readonly nextToken: string;
}

/** A UUID in lower case. */
export const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Where a page starts; `undefined`: at the start. Tokens can be forged: the position has to be of the form that the query takes.
 * Fault PAGE_TOKEN_INVALID.
 */
export function readPosition(scope: readonly string[], token: string, form: RegExp): string | undefined {
  if (token === "") return undefined;
  const found = readPageToken(scope, token);
  if (found === undefined || !form.test(found)) throw new Fault<Reason>("PAGE_TOKEN_INVALID");
  return found;
}

/** One row more than the page was asked for: it only tells that there is a next page. `found` counts what was left out too. */
export function cutPage<T>(
  scope: readonly string[],
  rows: readonly T[],
  found: number,
  size: number,
  key: (last: T) => string,
): Page<T> {
  const items = rows.slice(0, size);
  const last = items.at(-1);
  const more = found > items.length && last !== undefined;
  return { items, nextToken: more ? makePageToken(scope, key(last)) : "" };
}
