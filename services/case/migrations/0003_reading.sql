-- Lets watchers read entries in the order of their transactions. Safe while the previous release runs: the column is added without
-- rewriting a row, and its default fills it for a release that does not know it.
--
-- Entries from before have no transaction id and are never watched: every watch begins after this.
LOCK TABLE cases, case_contents, approvals, audit_entries, outbox, recorded_answers IN ACCESS EXCLUSIVE MODE;
ALTER TABLE audit_entries ADD COLUMN committed_in xid8;
ALTER TABLE audit_entries ALTER COLUMN committed_in SET DEFAULT pg_current_xact_id();

-- Partial, although it leaves out old rows only: no other statement can mistake it for its own index while the table is young.
CREATE INDEX audit_entries_by_commit ON audit_entries (tenant_id, committed_in, case_id, version) WHERE committed_in IS NOT NULL;

-- Expired answers are removed by the relay's role, which sees no other answers, and of those the keys alone: an answer that is
-- still replayed cannot be removed by anybody but the owner.
CREATE POLICY expired_answers_seen ON recorded_answers FOR SELECT TO case_relay USING (expires_at < now());
CREATE POLICY expired_answers_removed ON recorded_answers FOR DELETE TO case_relay USING (expires_at < now());
GRANT SELECT (tenant_id, principal_id, request_id, expires_at), DELETE ON recorded_answers TO case_relay;

-- Both lead with the tenant, and both have a condition that every row fulfils: a statement that says nothing of the state, or of the
-- time, cannot use them. Without it a plan made while the table is young takes one of them for the key's own index, and a write
-- or a foreign key reads the tenant whole until the table is analysed (docs/decisions/0010-indexes-of-cases.md).
CREATE INDEX cases_by_tenant_state ON cases (tenant_id, state, case_id) WHERE state <> '';
CREATE INDEX cases_by_tenant_change ON cases (tenant_id, updated_at) WHERE updated_at >= 'epoch';
DROP INDEX cases_by_state;
DROP INDEX cases_by_change;
