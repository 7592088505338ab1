-- The audit database, first version. Runs as the owner role; the application role owns nothing.
-- Every key leads with tenant_id, and there are no triggers, sequences or identities: the schema must run on Citus as it stands
-- (docs/design.md, "Scale").

-- One row a tenant. Whoever appends holds it FOR UPDATE until commit: that makes leaf indexes gapless and their order the commit order.
CREATE TABLE logs (
  tenant_id text   NOT NULL,
  -- How many events the log holds; the next one gets this leaf index.
  size      bigint NOT NULL,
  PRIMARY KEY (tenant_id),
  CONSTRAINT logs_tenant_id_form CHECK (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  CONSTRAINT logs_size_from_zero CHECK (size >= 0)
);

-- Every event, for ever. The bytes are the record; the other columns only find it. `digest` beside `event_id` is the inbox: it
-- tells an event that comes again from another one under the same id.
--
-- That neither a log nor a subject has a gap is held by the lock on `logs` and the keys here, and not by foreign keys from
-- each event to the one before. PostgreSQL settles on the plan of such a check early: while a table is young each index that
-- leads with tenant_id seems as good as the right one, and with the wrong one every check reads the tenant's whole log.
CREATE TABLE events (
  tenant_id        text             NOT NULL,
  leaf_index       bigint           NOT NULL,
  event_id         uuid             NOT NULL,
  source           text COLLATE "C" NOT NULL,
  type             text COLLATE "C" NOT NULL,
  subject          text COLLATE "C" NOT NULL,
  subject_sequence bigint           NOT NULL,
  actor_id         text COLLATE "C" NOT NULL,
  on_behalf_of     text COLLATE "C",
  request_id       uuid,
  correlation_id   text COLLATE "C",
  -- The event's own times, cut to whole microseconds.
  occurred_at      timestamptz      NOT NULL,
  recorded_at      timestamptz      NOT NULL,
  -- When it was stored, by this database's clock.
  received_at      timestamptz      NOT NULL,
  digest           bytea            NOT NULL,
  bytes            bytea            NOT NULL,
  PRIMARY KEY (tenant_id, leaf_index),
  CONSTRAINT events_id_once UNIQUE (tenant_id, event_id),
  CONSTRAINT events_sequence_once UNIQUE (tenant_id, source, subject, subject_sequence),
  CONSTRAINT events_tenant_id_form CHECK (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  CONSTRAINT events_leaf_index_from_zero CHECK (leaf_index >= 0),
  CONSTRAINT events_sequence_from_one CHECK (subject_sequence >= 1),
  CONSTRAINT events_source_length CHECK (char_length(source) BETWEEN 1 AND 128),
  CONSTRAINT events_type_length CHECK (char_length(type) BETWEEN 1 AND 128),
  CONSTRAINT events_subject_length CHECK (char_length(subject) BETWEEN 1 AND 256),
  CONSTRAINT events_actor_id_length CHECK (char_length(actor_id) BETWEEN 1 AND 128),
  CONSTRAINT events_on_behalf_of_length CHECK (char_length(on_behalf_of) BETWEEN 1 AND 128),
  CONSTRAINT events_correlation_id_length CHECK (char_length(correlation_id) BETWEEN 1 AND 128),
  CONSTRAINT events_size CHECK (octet_length(bytes) BETWEEN 1 AND 61440),
  CONSTRAINT events_digest_holds CHECK (digest = sha256(bytes))
);

-- One index a condition of a listing, each in the order that a listing is read in.
CREATE INDEX events_by_source ON events (tenant_id, source, leaf_index);
CREATE INDEX events_by_type ON events (tenant_id, type, leaf_index);
CREATE INDEX events_by_subject ON events (tenant_id, subject, leaf_index);
CREATE INDEX events_by_actor ON events (tenant_id, actor_id, leaf_index);
CREATE INDEX events_by_on_behalf_of ON events (tenant_id, on_behalf_of, leaf_index) WHERE on_behalf_of IS NOT NULL;
CREATE INDEX events_by_request ON events (tenant_id, request_id, leaf_index) WHERE request_id IS NOT NULL;
CREATE INDEX events_by_correlation ON events (tenant_id, correlation_id, leaf_index) WHERE correlation_id IS NOT NULL;
CREATE INDEX events_by_occurred_at ON events (tenant_id, occurred_at, leaf_index);

-- The last event of each subject: what the next one must follow.
CREATE TABLE subject_heads (
  tenant_id     text             NOT NULL,
  source        text COLLATE "C" NOT NULL,
  subject       text COLLATE "C" NOT NULL,
  last_sequence bigint           NOT NULL,
  last_digest   bytea            NOT NULL,
  PRIMARY KEY (tenant_id, source, subject),
  CONSTRAINT subject_heads_sequence_from_one CHECK (last_sequence >= 1),
  CONSTRAINT subject_heads_digest_is_sha256 CHECK (octet_length(last_digest) = 32)
);

-- Row-level security, forced: it holds for the owner too, and without a tenant there are no rows. The setting is '' rather than
-- NULL on a connection that had it set before, hence nullif.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['logs', 'events', 'subject_heads'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY of_tenant ON %I TO audit_app'
      ' USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))'
      ' WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))',
      name
    );
  END LOOP;
END
$$;

-- Append-only by grants: only the owner could change or remove an event.
GRANT SELECT, INSERT ON events TO audit_app;
GRANT SELECT, INSERT, UPDATE (size) ON logs TO audit_app;
GRANT SELECT, INSERT, UPDATE (last_sequence, last_digest) ON subject_heads TO audit_app;
