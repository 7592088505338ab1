-- How many calls a tenant, and each of its principals, may still make: what replicas share that count in PostgreSQL
-- (libs/limits/postgres-buckets.ts). Safe while the release before runs, which does not know it.
--
-- Unlogged: what it says is over in seconds. A crash empties it, and every bucket is full again.
CREATE UNLOGGED TABLE rate_buckets (
  tenant_id    text        NOT NULL,
  -- '' for the tenant itself, which no principal is called.
  principal_id text        NOT NULL,
  full_at      timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, principal_id),
  CONSTRAINT rate_buckets_tenant_id_form CHECK (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  CONSTRAINT rate_buckets_principal_id_length CHECK (char_length(principal_id) <= 128)
);

ALTER TABLE rate_buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE rate_buckets FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON rate_buckets TO audit_app
  USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
GRANT SELECT, INSERT, UPDATE (full_at), DELETE ON rate_buckets TO audit_app;
