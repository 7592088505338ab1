-- Lets the service tell which entries still wait for their delivery: of each tenant its own, as the policies have it. Safe while the
-- previous release runs: rights are added.
GRANT SELECT ON outbox, dead_letters TO case_app;
