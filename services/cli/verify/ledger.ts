import { DatabaseSync } from "node:sqlite";

import type { CaseFacts } from "./case-facts.ts";
import type { Place } from "./fault.ts";
import type { PolicyClaim } from "./rules-case.ts";
import type { PolicyRules, SetPolicy } from "./rules-policy.ts";

/** Where the history of one subject stands. */
export interface SubjectState {
  /** Of its last event. */
  readonly sequence: number;
  readonly leafIndex: number;
  /** What the next event must name. */
  readonly linkDigest: string;
  /** What the next event's id must lie behind. */
  readonly eventId: string;
  /** Of a case. */
  readonly facts?: CaseFacts;
}

export interface StandingClaim {
  readonly place: Place;
  readonly caseType: string;
  readonly policyVersion: number;
  readonly claim: PolicyClaim;
}

/** A leaf, as far as statements are about it. */
export interface LedgerLeaf {
  readonly leafHash: Uint8Array;
  /** Of an event that tells of an entry: the entry's digest. */
  readonly entryDigest: Uint8Array | undefined;
}

/** What has to be remembered of a log while it is read. */
export interface Ledger extends Disposable {
  subject(key: string): SubjectState | undefined;
  setSubject(key: string, state: SubjectState): void;
  /** Remembers an event's id; returns the leaf that had it before, if any had. */
  addEventId(eventId: string, leafIndex: number): number | undefined;
  addOverrider(key: string, person: string): void;
  hasOverridden(key: string, person: string): boolean;
  /** Rules that are `undefined` are hidden. */
  setPolicy(caseType: string, version: number, rules: PolicyRules | undefined): void;
  policy(caseType: string, version: number): SetPolicy | undefined;
  addClaim(claim: StandingClaim): void;
  /** In the order added. */
  claims(): Iterable<StandingClaim>;
  addLeaf(leafIndex: number, leaf: LedgerLeaf): void;
  /** From `first` on, below `end`, in order. */
  leaves(first: number, end: number): Iterable<LedgerLeaf>;
}

const cacheKib = 16 * 1_024;
/** Subjects kept in memory, of at most some 4 KiB each: those that something happened to last. */
const recentMax = 2_048;

const schema = `
  PRAGMA journal_mode = OFF;
  PRAGMA synchronous = OFF;
  PRAGMA cache_size = -${cacheKib};
  CREATE TABLE subjects (key TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE event_ids (id BLOB PRIMARY KEY, leaf_index INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE overriders (key TEXT, person TEXT, PRIMARY KEY (key, person)) WITHOUT ROWID;
  CREATE TABLE policies (case_type TEXT, version INTEGER, rules TEXT, PRIMARY KEY (case_type, version)) WITHOUT ROWID;
  CREATE TABLE claims (number INTEGER PRIMARY KEY, claim TEXT NOT NULL);
  CREATE TABLE leaves (leaf_index INTEGER PRIMARY KEY, leaf_hash BLOB NOT NULL, entry_digest BLOB);
  BEGIN`;

/**
 * Keeps it in a database on disk that nobody else sees and that is gone with the process: memory does not grow with the log.
 * Subjects and ids of a log come roughly in the order of time, and so do the keys; the cache then holds what is needed.
 */
export function openLedger(): Ledger {
  const database = new DatabaseSync(""); // SQLite's name for a private file, deleted while it is used.
  database.exec(schema);
  const subject = database.prepare("SELECT state FROM subjects WHERE key = ?");
  const setSubject = database.prepare(
    "INSERT INTO subjects VALUES (?1, ?2) ON CONFLICT DO UPDATE SET state = ?2",
  );
  const addEventId = database.prepare("INSERT INTO event_ids VALUES (?, ?) ON CONFLICT DO NOTHING");
  const eventId = database.prepare("SELECT leaf_index FROM event_ids WHERE id = ?");
  const addOverrider = database.prepare("INSERT INTO overriders VALUES (?, ?) ON CONFLICT DO NOTHING");
  const overrider = database.prepare("SELECT 1 FROM overriders WHERE key = ? AND person = ?");
  const setPolicy = database.prepare(
    "INSERT INTO policies VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET rules = ?3",
  );
  const policy = database.prepare("SELECT rules FROM policies WHERE case_type = ? AND version = ?");
  const addClaim = database.prepare("INSERT INTO claims (claim) VALUES (?)");
  const claims = database.prepare("SELECT claim FROM claims ORDER BY number");
  const addLeaf = database.prepare("INSERT INTO leaves VALUES (?, ?, ?)");
  const leaves = database.prepare(
    "SELECT leaf_hash, entry_digest FROM leaves WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index",
  );
  const recent = new Map<string, SubjectState>(); // In the order in which they were set.
  return {
    subject(key) {
      const known = recent.get(key);
      if (known) return known;
      const found = subject.get(key);
      return found && (JSON.parse(String(found["state"])) as SubjectState); // As `setSubject` wrote it.
    },
    setSubject(key, state) {
      recent.delete(key);
      recent.set(key, state);
      for (const [oldest, itsState] of recent) {
        if (recent.size <= recentMax) return;
        recent.delete(oldest);
        setSubject.run(oldest, JSON.stringify(itsState));
      }
    },
    addEventId(id, leafIndex) {
      const bytes = Buffer.from(id.replaceAll("-", ""), "hex");
      if (addEventId.run(bytes, leafIndex).changes === 1) return undefined;
      return Number(eventId.get(bytes)?.["leaf_index"]);
    },
    addOverrider: (key, person) => void addOverrider.run(key, person),
    hasOverridden: (key, person) => overrider.get(key, person) !== undefined,
    setPolicy: (caseType, version, rules) => void setPolicy.run(caseType, version, JSON.stringify({ rules })),
    policy(caseType, version) {
      const found = policy.get(caseType, version);
      return found && (JSON.parse(String(found["rules"])) as SetPolicy); // As `setPolicy` wrote it.
    },
    addClaim: (claim) => void addClaim.run(JSON.stringify(claim)),
    *claims() {
      for (const row of claims.iterate()) yield JSON.parse(String(row["claim"])) as StandingClaim; // As `addClaim` wrote it.
    },
    addLeaf: (leafIndex, { leafHash, entryDigest }) =>
      void addLeaf.run(leafIndex, leafHash, entryDigest ?? null),
    *leaves(first, end) {
      for (const row of leaves.iterate(first, end)) {
        const { leaf_hash: leafHash, entry_digest: entryDigest } = row;
        // As `addLeaf` wrote them.
        yield {
          leafHash: leafHash as Uint8Array,
          entryDigest: (entryDigest as Uint8Array | null) ?? undefined,
        };
      }
    },
    [Symbol.dispose]: () => database.close(),
  };
}
