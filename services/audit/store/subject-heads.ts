import type { Statement } from "#libs/pg/statement.ts";

import type { SubjectHead } from "../domain/append.ts";

export interface SubjectHeadRow {
  readonly source: string;
  readonly subject: string;
  /** A bigint in decimal. */
  readonly last_sequence: string;
  readonly last_digest: Buffer;
}

/** What names a subject among a tenant's. */
export interface Subject {
  readonly source: string;
  readonly subject: string;
}

/**
 * Reads up to `countMax` heads of the tenant's subjects after `after`, by source and subject, ascending, as the key has them:
 * by their bytes. `source` empty: of every source. Locks nothing.
 */
export function listSubjectHeads(
  tenantId: string,
  source: string,
  after: Subject,
  countMax: number,
): Statement {
  // One text for one source and one for all, so that each is one walk along the key.
  const ofOne = source !== "";
  return {
    name: ofOne ? "list_subject_heads_of_source" : "list_subject_heads",
    text: `
      SELECT source, subject, last_sequence, last_digest
        FROM subject_heads
       WHERE tenant_id = $1 AND ${ofOne ? "source = $2 AND subject > $3" : "(source, subject) > ($2, $3)"}
       ORDER BY source, subject
       LIMIT $4`,
    values: [tenantId, ofOne ? source : after.source, after.subject, countMax],
  };
}

/**
 * Reads the heads of the tenant's subjects that are named. In no order; a subject without events has no row. To be run
 * with `keyLookups`.
 */
export function readSubjectHeads(tenantId: string, subjects: readonly Subject[]): Statement {
  return {
    name: "read_subject_heads",
    text: `
      SELECT head.source, head.subject, head.last_sequence, head.last_digest
        FROM (SELECT DISTINCT source, subject FROM unnest($2::text[], $3::text[]) AS named (source, subject)) AS wanted
       CROSS JOIN LATERAL (
         SELECT source, subject, last_sequence, last_digest
           FROM subject_heads
          WHERE tenant_id = $1
            AND source = wanted.source
            AND subject BETWEEN wanted.subject AND wanted.subject
          ORDER BY subject
          LIMIT 1
       ) AS head`,
    values: [tenantId, subjects.map(({ source }) => source), subjects.map(({ subject }) => subject)],
  };
}

export function toSubjectHead(row: SubjectHeadRow): SubjectHead {
  return {
    source: row.source,
    subject: row.subject,
    lastSequence: BigInt(row.last_sequence),
    lastDigest: row.last_digest.toString("hex"),
  };
}

/** Moves each head on, or makes it. At most one head a subject; the caller has locked the tenant's log. */
export function saveSubjectHeads(tenantId: string, heads: readonly SubjectHead[]): Statement {
  return {
    name: "save_subject_heads",
    text: `
      INSERT INTO subject_heads (tenant_id, source, subject, last_sequence, last_digest)
      SELECT $1, head.source, head.subject, head.last_sequence, head.last_digest
        FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[])
          AS head (source, subject, last_sequence, last_digest)
      ON CONFLICT (tenant_id, source, subject)
      DO UPDATE SET last_sequence = excluded.last_sequence, last_digest = excluded.last_digest`,
    values: [
      tenantId,
      heads.map(({ source }) => source),
      heads.map(({ subject }) => subject),
      heads.map(({ lastSequence }) => lastSequence),
      heads.map(({ lastDigest }) => Buffer.from(lastDigest, "hex")),
    ],
  };
}
