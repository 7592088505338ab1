import type pg from "pg";
import { listEntryDigests, type EntryDigestRow } from "../store/entry-digests.ts";
import { cutPage, readPosition, type Page, type PageRequest } from "./page.ts";
import { readRows, type Reader } from "./read-rows.ts";
import { subjectId } from "./subject-id.ts";

export interface EntryFilter {
  /** Inclusive. */
  readonly recordedFrom: Date | undefined;
  /** Exclusive. */
  readonly recordedBefore: Date | undefined;
  /** Of their events; empty: all. */
  readonly subject: string;
}

export interface EntryDigest {
  /** The case's id, or the one under which a policy's entries stand. */
  readonly caseId: string;
  readonly subject: string;
  readonly version: number;
  readonly eventId: string;
  readonly eventDigest: Uint8Array;
  /** The audit service has not acknowledged it. */
  readonly pending: boolean;
  readonly deadLetter: boolean;
}

/**
 * Entries by case id and version, ascending. A page costs what it looks at: with times in the filter it may hold fewer than
 * were asked for, or none, and still have a next one. Fault PAGE_TOKEN_INVALID.
 */
export type ListEntryDigests = (
  reader: Reader,
  filter: EntryFilter,
  page: PageRequest,
) => Promise<Page<EntryDigest>>;

/** Reads what an event is about; `undefined` where its bytes are damaged. */
type ReadSubject = (event: Uint8Array) => string | undefined;

const positionPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} [1-9][0-9]{0,8}$/;
const beforeEveryEntry = "00000000-0000-0000-0000-000000000000 0";

export function createListEntryDigests(pool: pg.Pool, readSubject: ReadSubject): ListEntryDigests {
  return async (reader, filter, page) => {
    const scope = [reader.tenantId, "entry digests", JSON.stringify(filter)];
    const position = readPosition(scope, page.token, positionPattern) ?? beforeEveryEntry;
    const [caseId = "", version = ""] = position.split(" ");
    const after = { caseId, version: Number(version) };
    const of = filter.subject === "" ? undefined : subjectId(filter.subject);
    const statement = listEntryDigests(reader.tenantId, of, after, page.size + 1);
    const { rows } = await readRows(pool, reader, statement);
    const placeOf = (row: EntryDigestRow) => `${row.case_id} ${row.version}`;
    const { items, nextToken } = cutPage<EntryDigestRow>(scope, rows, rows.length, page.size, placeOf);
    const entries = items
      .filter((row) => isInTime(row, filter))
      .map((row) => toEntryDigest(row, readSubject));
    // A policy's id is no name of it: whoever asks by that asks for a case.
    return {
      items: entries.filter(({ subject }) => of === undefined || subject === filter.subject),
      nextToken,
    };
  };
}

function isInTime(
  { recorded_at: at }: EntryDigestRow,
  { recordedFrom, recordedBefore }: EntryFilter,
): boolean {
  return !(recordedFrom && at < recordedFrom) && !(recordedBefore && at >= recordedBefore);
}

function toEntryDigest(row: EntryDigestRow, readSubject: ReadSubject): EntryDigest {
  return {
    caseId: row.case_id,
    // Damaged, it is told under its id: as something that nobody has audited.
    subject: (row.named_event && readSubject(row.named_event)) ?? row.case_id,
    version: row.version,
    eventId: row.event_id,
    eventDigest: row.event_digest,
    pending: row.waits || row.dead,
    deadLetter: row.dead,
  };
}
