import type { Pool } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import type { SubjectHead } from "../domain/append.ts";
import type { Reason } from "../domain/reason.ts";
import { listSubjectHeads, toSubjectHead, type Subject } from "../store/subject-heads.ts";
import { readRows, type PageRequest, type Reader } from "./read-rows.ts";

export interface HeadPage {
  readonly heads: readonly SubjectHead[];
  /** Empty: this was the last page. */
  readonly nextToken: string;
}

/** Lists heads by source and subject, ascending; `source` empty: of every source. Fault PAGE_TOKEN_INVALID. */
export type ListHeads = (reader: Reader, source: string, page: PageRequest) => Promise<HeadPage>;

export function createListHeads(pool: Pool): ListHeads {
  return async (reader, source, page) => {
    const scope = ["heads", reader.tenantId, source];
    const after = positionOf(scope, page.token) ?? { source, subject: "" };
    const statement = listSubjectHeads(reader.tenantId, source, after, page.size + 1);
    const { rows } = await readRows(pool, reader, statement);
    const heads = rows.slice(0, page.size).map(toSubjectHead);
    const last = heads.at(-1);
    const more = rows.length > heads.length && last !== undefined;
    return { heads, nextToken: more ? makePageToken(scope, `${last.source}\0${last.subject}`) : "" };
  };
}

/** A source and a subject, neither of which can hold a NUL. */
const positionPattern = /^(?<source>[^\0]{1,128})\0(?<subject>[^\0]{1,256})$/u;

/** Tokens can be forged: the position has to be of the form that the query takes. */
function positionOf(scope: readonly string[], token: string): Subject | undefined {
  if (token === "") return undefined;
  const { source, subject } = positionPattern.exec(readPageToken(scope, token) ?? "")?.groups ?? {};
  if (source === undefined || subject === undefined) throw new Fault<Reason>("PAGE_TOKEN_INVALID");
  return { source, subject };
}
