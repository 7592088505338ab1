-- Lets watchers read entries in the order of their transactions. Safe while the previous release runs: the column is added without
-- rewriting a row, and its default fills it for a release that does not know it.
--
-- Entries from before have no transaction id and are never watched: every watch begins after this.
ALTER TABLE audit_entries ADD COLUMN committed_in xid8;
ALTER TABLE audit_entries ALTER COLUMN committed_in SET DEFAULT pg_current_xact_id();

-- Partial, although it leaves out old rows only: no other statement can mistake it for its own index while the table is young.
CREATE INDEX audit_entries_by_commit ON audit_entries (tenant_id, committed_in, case_id, version) WHERE committed_in IS NOT NULL;
