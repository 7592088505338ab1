import { identityPattern } from "#libs/pg/database-identity.ts";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import type { ChangePosition } from "../store/changes.ts";

/** Where a watch goes on: behind an entry, or at the beginning of a transaction id. */
export interface WatchPlace {
  /** Of the database that the place is in. */
  readonly identity: string;
  readonly position: ChangePosition;
  /** Event id of the entry at `position`; `nilUuid` where the place is at no entry. */
  readonly eventId: string;
}

/** Before every case, and the id of no event. */
export const nilUuid = "00000000-0000-0000-0000-000000000000";

const uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
/** Counts end before an xid8 (2^64) and an integer (2^31) do: tokens can be forged. */
const placePattern = new RegExp(`^(${identityPattern})/([0-9]{1,19})/(${uuid})/([0-9]{1,9})/(${uuid})$`);

/** The place before everything that the transactions from `openFrom` on write. */
export function placeBefore(identity: string, openFrom: string): WatchPlace {
  return { identity, position: { committedIn: openFrom, caseId: nilUuid, version: 0 }, eventId: nilUuid };
}

/** Makes the token of a place. Another tenant cannot use it. */
export function makeResumeToken(tenantId: string, { identity, position, eventId }: WatchPlace): string {
  const { committedIn, caseId, version } = position;
  return makePageToken(scopeOf(tenantId), [identity, committedIn, caseId, version, eventId].join("/"));
}

/** Reads a token; `undefined` when it is none of ours, was changed, or is another tenant's. */
export function readResumeToken(tenantId: string, token: string): WatchPlace | undefined {
  const parts = placePattern.exec(readPageToken(scopeOf(tenantId), token) ?? "");
  if (!parts) return undefined;
  const [, identity = "", committedIn = "", caseId = "", version = "", eventId = ""] = parts;
  return { identity, position: { committedIn, caseId, version: Number(version) }, eventId };
}

function scopeOf(tenantId: string): readonly string[] {
  return [tenantId, "watch"];
}
