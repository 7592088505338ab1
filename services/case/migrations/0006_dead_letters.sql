-- What operators do about dead letters: queue them again, or put a tombstone in their place.
--
-- Safe while the release before runs: it neither removes dead letters nor queues tombstones. Its relay would deliver the original
-- where a tombstone is queued, so nobody skips before the last of its processes is gone (CHANGELOG.md, "Upgrading").

-- An operator's acts on delivery are a subject of their own, as a policy is: its entries stand under one id, in one state, each with
-- the event that tells it. Nothing but these acts reaches that state.
DO $$
DECLARE
  before text;
BEGIN
  SELECT pg_get_expr(conbin, conrelid) INTO STRICT before FROM pg_constraint
   WHERE conrelid = 'audit_entries'::regclass AND conname = 'audit_entries_transition_allowed';
  EXECUTE format(
    'ALTER TABLE audit_entries DROP CONSTRAINT audit_entries_transition_allowed, '
    'ADD CONSTRAINT audit_entries_transition_allowed CHECK ('
    'CASE WHEN to_state = ''attended'''
    ' THEN action IN (''redrive'', ''skip'') AND coalesce(from_state, ''attended'') = ''attended'''
    ' ELSE %s END)',
    before
  );
END
$$;

-- What stands in for an event that was given up: one an entry, made once, for ever. It is queued under an event id of its own.
CREATE TABLE tombstones (
  tenant_id    text    NOT NULL,
  case_id      uuid    NOT NULL,
  version      integer NOT NULL,
  event_id     uuid    NOT NULL,
  event        bytea   NOT NULL,
  -- The act by which it was set, and whose that was.
  act_id       uuid    NOT NULL,
  act_version  integer NOT NULL,
  person_id    text    NOT NULL,
  act_action   text    NOT NULL,
  PRIMARY KEY (tenant_id, case_id, version),
  CONSTRAINT tombstones_event_id_once UNIQUE (tenant_id, event_id),
  CONSTRAINT tombstones_of_entry FOREIGN KEY (tenant_id, case_id, version) REFERENCES audit_entries (tenant_id, case_id, version),
  CONSTRAINT tombstones_by_act FOREIGN KEY (tenant_id, act_id, act_version, person_id, act_action)
    REFERENCES audit_entries (tenant_id, case_id, version, person_id, action),
  CONSTRAINT tombstones_act_action CHECK (act_action = 'skip'),
  CONSTRAINT tombstones_event_size CHECK (octet_length(event) BETWEEN 1 AND 61440)
);

ALTER TABLE tombstones ENABLE ROW LEVEL SECURITY;
ALTER TABLE tombstones FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON tombstones TO case_app
  USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY of_all_tenants ON tombstones FOR SELECT TO case_relay USING (true);
GRANT SELECT, INSERT ON tombstones TO case_app;
GRANT SELECT ON tombstones TO case_relay;

-- Operators remove dead letters, by their acts; the relay only adds them.
GRANT SELECT, DELETE ON dead_letters TO case_app;
REVOKE DELETE ON dead_letters FROM case_relay;
