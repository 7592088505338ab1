-- Whoever appeals does not review the appeal: a case is appealed once, and its appeal's review begun once, so the two are two
-- people's. The case row says so too, but the application's role may change whom it names.
--
-- Safe while the release before runs: it refuses the same.
CREATE UNIQUE INDEX audit_entries_appeal_independent ON audit_entries (tenant_id, case_id, person_id)
  WHERE action IN ('appeal', 'start_appeal_review');
