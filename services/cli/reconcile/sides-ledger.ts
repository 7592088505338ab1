import { DatabaseSync } from "node:sqlite";

import type { Entries } from "./read-sides.ts";
import type { Finding, Outcome } from "./compare-sides.ts";

/** An event of a log, as far as it is compared with its entry. */
export interface ComparedLeaf {
  readonly subject: string;
  readonly sequence: number;
  readonly eventId: string;
  /** Of the entry that it tells of. */
  readonly digest: Uint8Array;
}

/**
 * The entries that were read and the leaves of a log, side by side. It is in a database on disk that nobody else sees and
 * that is gone with the process.
 */
export interface SidesLedger extends Disposable {
  /** Entries read before the log: those that did not wait then have to be in it. */
  addEntries(entries: Entries): void;
  /** Entries read after the log, which may have come since: they need not be in it. */
  addLaterEntries(entries: Entries): void;
  /** Of two at one place the first counts; a log with two is one that does not hold. */
  addLeaf(leaf: ComparedLeaf): void;
  /** Forgets the leaves: the log is read again. */
  clearLeaves(): void;
  /** Subjects of leaves without an entry. */
  subjectsWithoutEntries(): readonly string[];
  /** Wherever the two differ. */
  findings(): Iterable<Finding>;
}

const cacheKib = 16 * 1_024;

const schema = `
  PRAGMA journal_mode = OFF;
  PRAGMA synchronous = OFF;
  PRAGMA cache_size = -${cacheKib};
  CREATE TABLE entries (subject TEXT, sequence INTEGER, event_id TEXT NOT NULL, digest BLOB NOT NULL, due INTEGER NOT NULL,
                        PRIMARY KEY (subject, sequence)) WITHOUT ROWID;
  CREATE TABLE leaves (subject TEXT, sequence INTEGER, event_id TEXT NOT NULL, digest BLOB NOT NULL,
                       PRIMARY KEY (subject, sequence)) WITHOUT ROWID;
  BEGIN`;

const subjectsWithoutEntries = `
  SELECT DISTINCT subject
    FROM leaves l LEFT JOIN entries e USING (subject, sequence)
   WHERE e.event_id IS NULL`;

const findings = `
  SELECT 'missing' AS outcome, subject, sequence, e.event_id AS event_id, '' AS detail
    FROM entries e LEFT JOIN leaves l USING (subject, sequence)
   WHERE e.due = 1 AND l.event_id IS NULL
   UNION ALL
  SELECT 'different', subject, sequence, e.event_id,
         CASE WHEN l.event_id = e.event_id THEN '' ELSE 'audited: ' || l.event_id END
    FROM entries e JOIN leaves l USING (subject, sequence)
   WHERE e.digest <> l.digest
   UNION ALL
  SELECT 'unexpected', subject, sequence, l.event_id, ''
    FROM leaves l LEFT JOIN entries e USING (subject, sequence)
   WHERE e.event_id IS NULL`;

export function openSidesLedger(): SidesLedger {
  const database = new DatabaseSync(""); // SQLite's name for a private file, deleted while it is used.
  database.exec(schema);
  const addEntry = database.prepare("INSERT INTO entries VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
  const addLeaf = database.prepare("INSERT INTO leaves VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING");
  const add = (entries: Entries, isDue: (entry: Entries[0]) => boolean): void => {
    for (const entry of entries) {
      const { subject, version, eventId, eventDigest } = entry;
      addEntry.run(subject, version, eventId, eventDigest, Number(isDue(entry)));
    }
  };
  return {
    addEntries: (entries) => add(entries, ({ pending }) => !pending),
    addLaterEntries: (entries) => add(entries, () => false),
    addLeaf: ({ subject, sequence, eventId, digest }) => void addLeaf.run(subject, sequence, eventId, digest),
    clearLeaves: () => database.exec("DELETE FROM leaves"),
    subjectsWithoutEntries: () =>
      database
        .prepare(subjectsWithoutEntries)
        .all()
        .map((row) => String(row["subject"])),
    *findings() {
      for (const row of database.prepare(findings).iterate()) {
        yield {
          outcome: String(row["outcome"]) as Outcome, // As the statement names them.
          subject: String(row["subject"]),
          sequence: Number(row["sequence"]),
          eventId: String(row["event_id"]),
          detail: String(row["detail"]),
        };
      }
    },
    [Symbol.dispose]: () => database.close(),
  };
}
