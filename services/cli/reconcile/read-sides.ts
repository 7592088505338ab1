import type { AuditClient } from "#libs/client/audit-client.ts";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { SubjectHead } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import type { EntryDigest } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";

/** Whom the case service's events are of. */
const source = "caseflow/case";
const pageSize = 500;

/** All entries of one subject, oldest first. Never empty. */
export type Entries = readonly [EntryDigest, ...EntryDigest[]];

/** An event as far as it is compared. */
export interface AuditedEvent {
  readonly sequence: number;
  readonly eventId: string;
  readonly digest: Uint8Array;
}

/** Every subject's entries, by the id under which they stand: cases ascending by name, and between them what has another name. */
export async function* readSubjects(admin: CaseAdminClient): AsyncGenerator<Entries> {
  let entries: [EntryDigest, ...EntryDigest[]] | undefined;
  for await (const entry of readEntries(admin, "")) {
    if (entries?.[0].caseId === entry.caseId) entries.push(entry);
    else {
      if (entries) yield entries;
      entries = [entry];
    }
  }
  if (entries) yield entries;
}

/** The entries of a subject, oldest first; empty: of every subject. */
export async function* readEntries(admin: CaseAdminClient, subject: string): AsyncGenerator<EntryDigest> {
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await admin.listEntryDigests({ subject, pageSize, pageToken });
    yield* page.entries;
    pageToken = page.nextPageToken;
  }
}

/** The last event of each audited subject of the case service, by name. */
export async function* readHeads(audit: AuditClient): AsyncGenerator<SubjectHead> {
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await audit.listSubjectHeads({ source, pageSize, pageToken });
    yield* page.heads;
    pageToken = page.nextPageToken;
  }
}

/** The audited events of a subject, oldest first. */
export async function* readEvents(audit: AuditClient, subject: string): AsyncGenerator<AuditedEvent> {
  const filter = { source, subject };
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await audit.listEvents({ filter, pageSize, pageToken });
    for (const { event, digest } of page.events) {
      yield {
        sequence: Number(event?.subjectSequence),
        eventId: event?.eventId ?? "",
        // A tombstone says whose place it has taken.
        digest: event?.tombstone?.originalDigest ?? digest,
      };
    }
    pageToken = page.nextPageToken;
  }
}
