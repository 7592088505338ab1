-- Two-person approval, appeals, overrides, holds, erasure, policies, and who acted for whom.
--
-- Safe while the release before runs: columns are added that are null or have one constant value, and what its statements
-- write still passes. Nothing here is to be run twice.
--
-- Adding the generated columns writes audit_entries and approvals anew, once, and building the keys reads them: writes wait that
-- long (docs/decisions/0006 has the figures).

-- All at once, and in the order in which reads and writes take them: one after the other would meet them in a deadlock.
LOCK TABLE cases, case_contents, approvals, audit_entries, outbox, recorded_answers IN ACCESS EXCLUSIVE MODE;

-- Whom the principal acted for, and so the person on whom independence is judged.
ALTER TABLE audit_entries
  ADD COLUMN on_behalf_of text,
  ADD COLUMN person_id text NOT NULL GENERATED ALWAYS AS (coalesce(on_behalf_of, principal_id)) STORED,
  -- The earlier entry by which the same person spoke on the decision, where they may again: a proposal after another, a rejection
  -- after an approval.
  ADD COLUMN spoke_before_version integer,
  ADD COLUMN spoke_before_action text,
  -- The earlier entry that this one completes, and whose it was: of an override carried out the proposal, of an appeal's decision
  -- the start of its review.
  ADD COLUMN completes_version integer,
  ADD COLUMN completes_person_id text,
  ADD COLUMN completes_action text GENERATED ALWAYS AS (
    CASE WHEN action = 'override' THEN 'override' WHEN action IN ('approve_appeal', 'reject_appeal') THEN 'start_appeal_review' END
  ) STORED,
  -- Of an approval: whether it was the last that was needed.
  ADD COLUMN decides boolean GENERATED ALWAYS AS (CASE WHEN action = 'approve' THEN to_state = 'approved' END) STORED;

ALTER TABLE approvals
  -- Which of the approvals of its case, from 1.
  ADD COLUMN position smallint NOT NULL DEFAULT 1,
  ADD COLUMN follows_position smallint,
  ADD COLUMN approvals_required smallint NOT NULL DEFAULT 1,
  ADD COLUMN review_started_by_id text,
  ADD COLUMN decides boolean NOT NULL GENERATED ALWAYS AS (position = approvals_required) STORED;

ALTER TABLE cases
  -- When the latest transition happened; null: when it was recorded.
  ADD COLUMN occurred_at timestamptz,
  ADD COLUMN review_action text NOT NULL DEFAULT 'start_review',
  ADD COLUMN appellant_id text,
  ADD COLUMN appealed_at timestamptz,
  ADD COLUMN appeal_reviewer_id text,
  ADD COLUMN appeal_review_version integer,
  ADD COLUMN appeal_action text NOT NULL DEFAULT 'start_appeal_review',
  ADD COLUMN appeal_outcome text,
  ADD COLUMN appeal_decided_at timestamptz,
  ADD COLUMN proposal_version integer,
  ADD COLUMN proposer_id text,
  ADD COLUMN proposal_action text NOT NULL DEFAULT 'override',
  ADD COLUMN proposal_target text,
  ADD COLUMN proposal_reason text,
  ADD COLUMN proposal_legal_authority text,
  ADD COLUMN overrider_ids text[] NOT NULL DEFAULT '{}',
  ADD COLUMN override_speaker_ids text[] NOT NULL DEFAULT '{}',
  ADD COLUMN overridden_at timestamptz,
  ADD COLUMN on_hold boolean NOT NULL DEFAULT false,
  ADD COLUMN erased boolean NOT NULL DEFAULT false,
  ADD COLUMN appeal_window_days integer NOT NULL DEFAULT 30,
  -- What the case was created under. The application's role may not change these two, and the CHECK below holds the columns that
  -- the release before may write to them.
  ADD COLUMN created_policy_version integer NOT NULL DEFAULT 0,
  ADD COLUMN created_approvals_required smallint NOT NULL DEFAULT 1;

-- Who did what, by person. What refers to it moves over, then the same by principal goes.
ALTER TABLE audit_entries
  ADD CONSTRAINT audit_entries_done_by_person UNIQUE (tenant_id, case_id, version, person_id, action);
ALTER TABLE approvals DROP CONSTRAINT approvals_by_entry;
ALTER TABLE cases DROP CONSTRAINT cases_submitted_by;
ALTER TABLE audit_entries DROP CONSTRAINT audit_entries_done_by;
ALTER TABLE approvals
  ADD CONSTRAINT approvals_by_entry FOREIGN KEY (tenant_id, case_id, version, approver_id, action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action);
ALTER TABLE cases
  ADD CONSTRAINT cases_submitted_by FOREIGN KEY (tenant_id, case_id, submitted_version, submitter_id, submit_action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action);

-- One voice a person a case: who submitted, approved, rejected or overrode never reviews the appeal, and who submitted decides
-- nothing.
CREATE UNIQUE INDEX audit_entries_one_voice ON audit_entries (tenant_id, case_id, person_id)
  WHERE action IN ('submit', 'approve', 'reject', 'override', 'start_appeal_review') AND spoke_before_version IS NULL;

ALTER TABLE audit_entries
  -- Whoever speaks again has spoken: the entry named is their own, and of an earlier version.
  ADD CONSTRAINT audit_entries_voice_again CHECK (
    CASE
      WHEN spoke_before_version IS NULL THEN spoke_before_action IS NULL
      ELSE spoke_before_version < version AND action IN ('reject', 'override')
        AND spoke_before_action IS NOT NULL AND spoke_before_action IN ('approve', 'reject', 'override')
    END
  ),
  ADD CONSTRAINT audit_entries_spoke_before FOREIGN KEY (tenant_id, case_id, spoke_before_version, person_id, spoke_before_action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action),
  ADD CONSTRAINT audit_entries_completes FOREIGN KEY (tenant_id, case_id, completes_version, completes_person_id, completes_action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action),
  -- An override takes another person than its proposal; an appeal is decided by whoever began to review it.
  ADD CONSTRAINT audit_entries_who_completes CHECK (
    CASE
      WHEN action = 'override' AND from_state <> to_state
        THEN completes_version IS NOT NULL AND completes_person_id IS NOT NULL AND completes_person_id <> coalesce(on_behalf_of, principal_id)
      WHEN action IN ('approve_appeal', 'reject_appeal')
        THEN completes_version IS NOT NULL AND completes_person_id IS NOT NULL AND completes_person_id = coalesce(on_behalf_of, principal_id)
      ELSE completes_version IS NULL AND completes_person_id IS NULL
    END
  ),
  -- The state table of domain/transitions.ts; a test compares the two. A policy has one state, and is set from it. As texts in one
  -- list: PostgreSQL reads a constraint anew for each write, and rows of three took it a fifth of the write's time.
  DROP CONSTRAINT audit_entries_transition_allowed,
  ADD CONSTRAINT audit_entries_transition_allowed CHECK (
    coalesce(from_state, '') || ' ' || action || ' ' || to_state IN (
      ' create draft',
      'draft update draft',
      'draft submit submitted',
      'submitted assign_reviewer submitted',
      'submitted start_review under_review',
      'under_review approve under_review',
      'under_review approve approved',
      'under_review reject rejected',
      'approved appeal appealed',
      'rejected appeal appealed',
      'appealed start_appeal_review appeal_under_review',
      'appeal_under_review approve_appeal appeal_approved',
      'appeal_under_review reject_appeal appeal_rejected',
      'approved override approved',
      'approved override rejected',
      'rejected override rejected',
      'rejected override approved',
      'approved close closed',
      'rejected close closed',
      'appeal_approved close closed',
      'appeal_rejected close closed',
      ' set_policy in_force',
      'in_force set_policy in_force'
    )
    OR (action IN ('place_hold', 'release_hold', 'erase') AND from_state IS NOT NULL AND from_state <> 'in_force' AND from_state = to_state)
  );

-- Approvals: in order, of the same decision, the last of two not by whoever started the review, and as many as were required
-- when the case was created. An entry that approves has its approval.
ALTER TABLE cases
  ADD CONSTRAINT cases_review_starter UNIQUE (tenant_id, case_id, review_started_by_id),
  ADD CONSTRAINT cases_submitter_and_approvals UNIQUE (tenant_id, case_id, submitter_id, approvals_required);
ALTER TABLE approvals
  DROP CONSTRAINT approvals_of_case,
  ADD CONSTRAINT approvals_of_case FOREIGN KEY (tenant_id, case_id, submitter_id, approvals_required)
    REFERENCES cases (tenant_id, case_id, submitter_id, approvals_required),
  ADD CONSTRAINT approvals_position_once UNIQUE (tenant_id, case_id, position),
  ADD CONSTRAINT approvals_of_decision UNIQUE (tenant_id, case_id, position, decision_hash),
  ADD CONSTRAINT approvals_of_entry UNIQUE (tenant_id, case_id, version, decides),
  ADD CONSTRAINT approvals_position CHECK (position BETWEEN 1 AND approvals_required),
  ADD CONSTRAINT approvals_follow CHECK (follows_position IS NOT DISTINCT FROM nullif(position - 1, 0)),
  ADD CONSTRAINT approvals_same_decision FOREIGN KEY (tenant_id, case_id, follows_position, decision_hash)
    REFERENCES approvals (tenant_id, case_id, position, decision_hash),
  ADD CONSTRAINT approvals_review_starter FOREIGN KEY (tenant_id, case_id, review_started_by_id)
    REFERENCES cases (tenant_id, case_id, review_started_by_id),
  ADD CONSTRAINT approvals_last_not_starter CHECK (position = 1 OR (review_started_by_id IS NOT NULL AND approver_id <> review_started_by_id));
ALTER TABLE cases DROP CONSTRAINT cases_submitter;
ALTER TABLE audit_entries
  ADD CONSTRAINT audit_entries_approval FOREIGN KEY (tenant_id, case_id, version, decides)
    REFERENCES approvals (tenant_id, case_id, version, decides);

ALTER TABLE cases
  ADD CONSTRAINT cases_state_known CHECK (state IN (
    'draft', 'submitted', 'under_review', 'approved', 'rejected', 'appealed', 'appeal_under_review', 'appeal_approved', 'appeal_rejected',
    'closed'
  )),
  ADD CONSTRAINT cases_policy_fixed CHECK (policy_version = created_policy_version AND approvals_required = created_approvals_required),
  ADD CONSTRAINT cases_appeal_window CHECK (appeal_window_days BETWEEN 0 AND 3650),
  ADD CONSTRAINT cases_review_action CHECK (review_action = 'start_review'),
  ADD CONSTRAINT cases_review_started_by FOREIGN KEY (tenant_id, case_id, review_version, review_started_by_id, review_action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action),
  ADD CONSTRAINT cases_starter_was_assigned CHECK (
    review_started_by_id IS NULL OR review_started_by_id IS NOT DISTINCT FROM assigned_reviewer_id
  ),
  ADD CONSTRAINT cases_appeal_action CHECK (appeal_action = 'start_appeal_review'),
  ADD CONSTRAINT cases_appeal_started_by FOREIGN KEY (tenant_id, case_id, appeal_review_version, appeal_reviewer_id, appeal_action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action),
  ADD CONSTRAINT cases_appeal_known CHECK (
    (state NOT IN ('appealed', 'appeal_under_review', 'appeal_approved', 'appeal_rejected') OR (appellant_id IS NOT NULL AND appealed_at IS NOT NULL))
    AND (state NOT IN ('appeal_under_review', 'appeal_approved', 'appeal_rejected')
         OR (appeal_reviewer_id IS NOT NULL AND appeal_review_version IS NOT NULL))
    AND (state NOT IN ('appeal_approved', 'appeal_rejected') OR (appeal_outcome IS NOT DISTINCT FROM state AND appeal_decided_at IS NOT NULL))
  ),
  ADD CONSTRAINT cases_appeal_outcome CHECK (appeal_outcome IN ('appeal_approved', 'appeal_rejected')),
  ADD CONSTRAINT cases_appeal_independent CHECK (
    appeal_reviewer_id IS NULL
    OR (appeal_reviewer_id IS DISTINCT FROM submitter_id
        AND appeal_reviewer_id IS DISTINCT FROM assigned_reviewer_id
        AND appeal_reviewer_id IS DISTINCT FROM review_started_by_id
        AND appeal_reviewer_id IS DISTINCT FROM rejecter_id
        AND appeal_reviewer_id IS DISTINCT FROM appellant_id
        AND appeal_reviewer_id <> ALL (override_speaker_ids))
  ),
  ADD CONSTRAINT cases_proposal_action CHECK (proposal_action = 'override'),
  ADD CONSTRAINT cases_proposed_by FOREIGN KEY (tenant_id, case_id, proposal_version, proposer_id, proposal_action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action),
  ADD CONSTRAINT cases_proposal_whole CHECK (
    num_nonnulls(proposal_version, proposer_id, proposal_target, proposal_reason, proposal_legal_authority) IN (0, 5)
  ),
  ADD CONSTRAINT cases_proposal_target CHECK (proposal_target IN ('approved', 'rejected')),
  ADD CONSTRAINT cases_overriders CHECK (
    cardinality(overrider_ids) = 0 OR (cardinality(overrider_ids) = 2 AND overrider_ids[1] <> overrider_ids[2])
  ),
  ADD CONSTRAINT cases_held_is_kept CHECK (NOT (on_hold AND erased));

-- The rules of a case type, one row a version of them, each with the entry that set it. A policy is a subject of its own:
-- its entries stand under `subject_id`, its outbox rows and answers too, as a case's stand under the case's id.
CREATE TABLE case_policies (
  tenant_id          text     NOT NULL,
  case_type          text     NOT NULL,
  policy_version     integer  NOT NULL,
  subject_id         uuid     NOT NULL,
  approvals_required smallint NOT NULL,
  appeal_window_days integer  NOT NULL,
  PRIMARY KEY (tenant_id, case_type, policy_version),
  CONSTRAINT case_policies_of_entry FOREIGN KEY (tenant_id, subject_id, policy_version)
    REFERENCES audit_entries (tenant_id, case_id, version),
  CONSTRAINT case_policies_set_once UNIQUE (tenant_id, subject_id, policy_version),
  CONSTRAINT case_policies_approvals_required CHECK (approvals_required IN (1, 2)),
  CONSTRAINT case_policies_appeal_window CHECK (appeal_window_days BETWEEN 0 AND 3650)
);

ALTER TABLE case_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE case_policies FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON case_policies TO case_app
  USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
GRANT SELECT, INSERT ON case_policies TO case_app;

-- What a case was created as stays. Erasure takes salts, contents and answers that hold contents; nothing else of a row.
REVOKE UPDATE ON cases FROM case_app;
GRANT UPDATE (
  state, version, content_version, content_commitment, submitter_id, submitted_version, assigned_reviewer_id, review_started_by_id,
  review_version, review_round, rejecter_id, policy_version, approvals_required, updated_at, decided_at, occurred_at, appellant_id,
  appealed_at, appeal_reviewer_id, appeal_review_version, appeal_outcome, appeal_decided_at, proposal_version, proposer_id,
  proposal_target, proposal_reason, proposal_legal_authority, overrider_ids, override_speaker_ids, overridden_at, on_hold, erased
) ON cases TO case_app;
GRANT UPDATE (salt, content) ON case_contents TO case_app;
GRANT UPDATE (request_hash, answer, expires_at) ON recorded_answers TO case_app;
