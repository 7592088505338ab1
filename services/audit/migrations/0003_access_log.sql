-- What an investigation needs: events by each of their times, and who read what of them.

-- As the indexes of the first migration: one a condition of a listing, each in the order that a listing is read in.
CREATE INDEX events_by_recorded_at ON events (tenant_id, recorded_at, leaf_index);
CREATE INDEX events_by_received_at ON events (tenant_id, received_at, leaf_index);

-- Who read what, for ever: a row before anything is given, and of a stream another at its end, whose `begun_by` is the first one's id.
-- A stream whose process was killed has no second row. Rows refer to each other without a foreign key, for the reason that the
-- first migration gives.
CREATE TABLE access_log (
  tenant_id        text             NOT NULL,
  -- UUIDv7 of the millisecond in `at`: what is asked for by time is asked for by id.
  access_id        uuid             NOT NULL,
  -- By the service's clock.
  at               timestamptz      NOT NULL,
  principal_id     text COLLATE "C" NOT NULL,
  principal_kind   text COLLATE "C" NOT NULL,
  on_behalf_of     text COLLATE "C",
  roles            text[]           NOT NULL,
  method           text COLLATE "C" NOT NULL,
  -- What was asked for, as JSON with sorted keys.
  filter           text             NOT NULL,
  outcome          text COLLATE "C" NOT NULL,
  given_count      bigint           NOT NULL,
  first_leaf_index bigint,
  last_leaf_index  bigint,
  begun_by         uuid,
  PRIMARY KEY (tenant_id, access_id),
  CONSTRAINT access_log_tenant_id_form CHECK (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  CONSTRAINT access_log_principal_id_length CHECK (char_length(principal_id) BETWEEN 1 AND 128),
  CONSTRAINT access_log_principal_kind_known CHECK (principal_kind IN ('person', 'service')),
  CONSTRAINT access_log_on_behalf_of_length CHECK (char_length(on_behalf_of) BETWEEN 1 AND 128),
  CONSTRAINT access_log_roles_count CHECK (cardinality(roles) <= 32),
  CONSTRAINT access_log_method_form CHECK (method ~ '^[A-Z][A-Za-z]{1,63}$'),
  CONSTRAINT access_log_filter_length CHECK (char_length(filter) BETWEEN 2 AND 4096),
  CONSTRAINT access_log_outcome_form CHECK (outcome ~ '^[A-Z][A-Z_]{0,63}$'),
  CONSTRAINT access_log_given_count_from_zero CHECK (given_count >= 0),
  CONSTRAINT access_log_begins_with_nothing CHECK (outcome <> 'BEGUN' OR (given_count = 0 AND begun_by IS NULL))
);

-- The order that a listing is read in, and each condition of it.
CREATE INDEX access_log_by_principal ON access_log (tenant_id, principal_id, access_id);
CREATE INDEX access_log_by_method ON access_log (tenant_id, method, access_id);

ALTER TABLE access_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_log FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON access_log TO audit_app
  USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

-- Append-only by grants, as events are.
GRANT SELECT, INSERT ON access_log TO audit_app;
