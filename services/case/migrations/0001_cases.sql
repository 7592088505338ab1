-- The case database, first version. Runs as the owner role; the application roles own nothing.
-- Every key leads with tenant_id, and there are no triggers, sequences or identities: the schema must run on Citus as it stands
-- (docs/design.md, "Scale").

CREATE TABLE cases (
  tenant_id            text        NOT NULL,
  case_id              uuid        NOT NULL,
  case_type            text        NOT NULL,
  external_reference   text        NOT NULL,
  state                text        NOT NULL,
  version              integer     NOT NULL,
  content_version      integer     NOT NULL,
  content_commitment   bytea       NOT NULL,
  creator_id           text        NOT NULL,
  submitter_id         text,
  -- The entry by which the submitter submitted: pins them, so that nobody can name another afterwards.
  submitted_version    integer,
  submit_action        text        NOT NULL,
  assigned_reviewer_id text,
  review_started_by_id text,
  -- The version at which the review at hand started: part of what a decision decides.
  review_version       integer,
  review_round         integer     NOT NULL,
  rejecter_id          text,
  policy_version       integer     NOT NULL,
  approvals_required   smallint    NOT NULL,
  created_at           timestamptz NOT NULL,
  updated_at           timestamptz NOT NULL,
  decided_at           timestamptz,
  PRIMARY KEY (tenant_id, case_id),
  -- What approvals refer to, so that nobody can write down another submitter than the case's.
  CONSTRAINT cases_submitter UNIQUE (tenant_id, case_id, submitter_id),
  CONSTRAINT cases_tenant_id_form CHECK (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  CONSTRAINT cases_version_from_one CHECK (version >= 1 AND content_version >= 1 AND content_version <= version),
  CONSTRAINT cases_commitment_is_sha256 CHECK (octet_length(content_commitment) = 32),
  CONSTRAINT cases_approvals_required CHECK (approvals_required IN (1, 2)),
  CONSTRAINT cases_submit_action CHECK (submit_action = 'submit'),
  CONSTRAINT cases_submitter_by_entry CHECK ((submitter_id IS NULL) = (submitted_version IS NULL)),
  CONSTRAINT cases_submitter_known CHECK (state = 'draft' OR submitter_id IS NOT NULL),
  CONSTRAINT cases_reviewer_known CHECK (state IN ('draft', 'submitted') OR (review_started_by_id IS NOT NULL AND review_version IS NOT NULL)),
  CONSTRAINT cases_reviewer_not_submitter CHECK (assigned_reviewer_id <> submitter_id),
  CONSTRAINT cases_rejecter_not_submitter CHECK (rejecter_id <> submitter_id)
);

-- Each leads with what it is for. With tenant_id in front they would all fit every statement, and on a young table, where
-- every index looks alike, a plan could settle on the wrong one and read the whole tenant.
CREATE INDEX cases_by_state ON cases (state, tenant_id, case_id);
CREATE INDEX cases_by_reviewer ON cases (assigned_reviewer_id, tenant_id, case_id) WHERE assigned_reviewer_id IS NOT NULL;
CREATE INDEX cases_by_creator ON cases (creator_id, tenant_id, case_id);
CREATE INDEX cases_by_reference ON cases (external_reference, tenant_id, case_id) WHERE external_reference <> '';
CREATE INDEX cases_by_type ON cases (case_type, tenant_id, case_id);
CREATE INDEX cases_by_change ON cases (tenant_id, updated_at);

-- What a case said, one row a version of it. Salt and content leave together when a case is erased; the commitment stays.
CREATE TABLE case_contents (
  tenant_id       text    NOT NULL,
  case_id         uuid    NOT NULL,
  content_version integer NOT NULL,
  salt            bytea,
  content         bytea,
  commitment      bytea   NOT NULL,
  PRIMARY KEY (tenant_id, case_id, content_version),
  CONSTRAINT case_contents_of_case FOREIGN KEY (tenant_id, case_id) REFERENCES cases (tenant_id, case_id),
  CONSTRAINT case_contents_erased_whole CHECK ((salt IS NULL) = (content IS NULL)),
  CONSTRAINT case_contents_salt_length CHECK (octet_length(salt) = 32),
  CONSTRAINT case_contents_commitment_holds CHECK (commitment = sha256(salt || content))
);

-- One row an accepted transition, never changed and never removed. `event` holds the bytes that the audit service gets.
CREATE TABLE audit_entries (
  tenant_id        text        NOT NULL,
  case_id          uuid        NOT NULL,
  version          integer     NOT NULL,
  action           text        NOT NULL,
  from_state       text,
  to_state         text        NOT NULL,
  previous_version integer,
  principal_id     text        NOT NULL,
  request_id       uuid        NOT NULL,
  event_id         uuid        NOT NULL,
  event            bytea       NOT NULL,
  event_digest     bytea       NOT NULL,
  recorded_at      timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, case_id, version),
  CONSTRAINT audit_entries_event_id_once UNIQUE (tenant_id, event_id),
  CONSTRAINT audit_entries_request_id_once UNIQUE (tenant_id, principal_id, request_id),
  CONSTRAINT audit_entries_done_by UNIQUE (tenant_id, case_id, version, principal_id, action),
  CONSTRAINT audit_entries_reached_state UNIQUE (tenant_id, case_id, version, to_state),
  CONSTRAINT audit_entries_follow_predecessor FOREIGN KEY (tenant_id, case_id, previous_version, from_state)
    REFERENCES audit_entries (tenant_id, case_id, version, to_state),
  CONSTRAINT audit_entries_predecessor_is_previous CHECK (
    (version = 1 AND previous_version IS NULL AND from_state IS NULL)
    OR (version > 1 AND previous_version IS NOT NULL AND previous_version = version - 1 AND from_state IS NOT NULL)
  ),
  CONSTRAINT audit_entries_digest_holds CHECK (event_digest = sha256(event)),
  CONSTRAINT audit_entries_event_size CHECK (octet_length(event) BETWEEN 1 AND 61440),
  -- The state table of domain/transitions.ts; a test compares the two.
  CONSTRAINT audit_entries_transition_allowed CHECK (
    (coalesce(from_state, ''), action, to_state) IN (
      ('', 'create', 'draft'),
      ('draft', 'update', 'draft'),
      ('draft', 'submit', 'submitted'),
      ('submitted', 'assign_reviewer', 'submitted'),
      ('submitted', 'start_review', 'under_review'),
      ('under_review', 'approve', 'under_review'),
      ('under_review', 'approve', 'approved'),
      ('under_review', 'reject', 'rejected'),
      ('approved', 'appeal', 'appealed'),
      ('rejected', 'appeal', 'appealed'),
      ('appealed', 'start_appeal_review', 'appeal_under_review'),
      ('appeal_under_review', 'approve_appeal', 'appeal_approved'),
      ('appeal_under_review', 'reject_appeal', 'appeal_rejected'),
      ('approved', 'override', 'approved'),
      ('approved', 'override', 'rejected'),
      ('rejected', 'override', 'rejected'),
      ('rejected', 'override', 'approved'),
      ('approved', 'close', 'closed'),
      ('rejected', 'close', 'closed'),
      ('appeal_approved', 'close', 'closed'),
      ('appeal_rejected', 'close', 'closed')
    )
    OR (action IN ('place_hold', 'release_hold', 'erase') AND from_state IS NOT NULL AND from_state = to_state)
  )
);

-- The case row is where its latest entry says it is, and its submitter is who submitted.
ALTER TABLE cases
  ADD CONSTRAINT cases_submitted_by FOREIGN KEY (tenant_id, case_id, submitted_version, submitter_id, submit_action)
    REFERENCES audit_entries (tenant_id, case_id, version, principal_id, action),
  ADD CONSTRAINT cases_at_latest_entry FOREIGN KEY (tenant_id, case_id, version, state)
    REFERENCES audit_entries (tenant_id, case_id, version, to_state);

CREATE TABLE approvals (
  tenant_id     text    NOT NULL,
  case_id       uuid    NOT NULL,
  review_round  integer NOT NULL,
  approver_id   text    NOT NULL,
  submitter_id  text    NOT NULL,
  version       integer NOT NULL,
  action        text    NOT NULL,
  decision_hash bytea   NOT NULL,
  CONSTRAINT approvals_once_a_person PRIMARY KEY (tenant_id, case_id, review_round, approver_id),
  CONSTRAINT approvals_never_submitter CHECK (approver_id <> submitter_id),
  CONSTRAINT approvals_of_case FOREIGN KEY (tenant_id, case_id, submitter_id) REFERENCES cases (tenant_id, case_id, submitter_id),
  -- Only the first review is decided by approvals; an appeal is one person's.
  CONSTRAINT approvals_first_round CHECK (review_round = 1),
  CONSTRAINT approvals_action CHECK (action = 'approve'),
  CONSTRAINT approvals_by_entry FOREIGN KEY (tenant_id, case_id, version, approver_id, action)
    REFERENCES audit_entries (tenant_id, case_id, version, principal_id, action),
  CONSTRAINT approvals_decision_hash_is_sha256 CHECK (octet_length(decision_hash) = 32)
);

-- Audit entries that the audit service has not acknowledged yet. Rows are deleted, never marked.
CREATE TABLE outbox (
  tenant_id   text     NOT NULL,
  event_id    uuid     NOT NULL,
  lane        smallint NOT NULL,
  case_id     uuid     NOT NULL,
  version     integer  NOT NULL,
  -- W3C Trace Context of the call that made the change; empty when it was not traced.
  traceparent text     NOT NULL,
  PRIMARY KEY (tenant_id, event_id),
  CONSTRAINT outbox_of_entry FOREIGN KEY (tenant_id, case_id, version) REFERENCES audit_entries (tenant_id, case_id, version),
  CONSTRAINT outbox_lane_of_tenant CHECK (lane = get_byte(sha256(tenant_id::bytea), 0) % 64)
);

CREATE INDEX outbox_by_lane ON outbox (lane, tenant_id, event_id);

-- Events that delivery gave up on. While one is here, its case's later events wait.
CREATE TABLE dead_letters (
  tenant_id text        NOT NULL,
  event_id  uuid        NOT NULL,
  case_id   uuid        NOT NULL,
  version   integer     NOT NULL,
  reason    text        NOT NULL,
  detail    text        NOT NULL,
  dead_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, event_id),
  CONSTRAINT dead_letters_of_entry FOREIGN KEY (tenant_id, case_id, version) REFERENCES audit_entries (tenant_id, case_id, version),
  CONSTRAINT dead_letters_detail_length CHECK (char_length(detail) <= 1000)
);

CREATE INDEX dead_letters_by_case ON dead_letters (tenant_id, case_id);

-- What a request id was answered with, for as long as it is replayed. The id itself stays on the audit entry for ever.
CREATE TABLE recorded_answers (
  tenant_id    text        NOT NULL,
  principal_id text        NOT NULL,
  request_id   uuid        NOT NULL,
  request_hash bytea       NOT NULL,
  answer       bytea       NOT NULL,
  case_id      uuid        NOT NULL,
  version      integer     NOT NULL,
  expires_at   timestamptz NOT NULL,
  CONSTRAINT recorded_answers_once PRIMARY KEY (tenant_id, principal_id, request_id),
  CONSTRAINT recorded_answers_of_entry FOREIGN KEY (tenant_id, case_id, version) REFERENCES audit_entries (tenant_id, case_id, version)
);

CREATE INDEX recorded_answers_by_expiry ON recorded_answers (expires_at);

-- Row-level security, forced: it holds for the owner too, and without a tenant there are no rows. The setting is '' rather than
-- NULL on a connection that had it set before, hence nullif.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['cases', 'case_contents', 'audit_entries', 'approvals', 'outbox', 'dead_letters', 'recorded_answers'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY of_tenant ON %I TO case_app'
      ' USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))'
      ' WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))',
      name
    );
  END LOOP;
END
$$;

CREATE POLICY of_all_tenants ON outbox TO case_relay USING (true);
CREATE POLICY of_all_tenants ON dead_letters TO case_relay USING (true) WITH CHECK (true);
CREATE POLICY of_all_tenants ON audit_entries FOR SELECT TO case_relay USING (true);

GRANT SELECT, INSERT, UPDATE ON cases TO case_app;
GRANT SELECT, INSERT ON case_contents, audit_entries, approvals, recorded_answers TO case_app;
GRANT INSERT ON outbox TO case_app;
GRANT SELECT, DELETE ON outbox TO case_relay;
-- The relay writes the dead letters that it makes.
GRANT SELECT, INSERT, DELETE ON dead_letters TO case_relay;
GRANT SELECT ON audit_entries TO case_relay;
