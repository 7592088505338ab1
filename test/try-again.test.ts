import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { openCase, startCaseService, tenant } from "./support/case-service.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { openSuperuser } from "./support/superuser.ts";
import { waitUntil } from "./support/wait-until.ts";

expectNoLeaks();

test("a write that PostgreSQL picks as the victim of a deadlock is done again, once", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  await using rival = await openSuperuser(cases.database.superuserUrl);
  await using observer = await openSuperuser(cases.database.superuserUrl);
  const caseId = await openCase(cases);
  const requestId = randomUUID();
  // The rival holds the request id; the submission locks the case and waits for the id; then the rival wants the case.
  await rival.query("SET deadlock_timeout = '1h'"); // It is not the one who finds the deadlock, and so is not the victim.
  await rival.query("BEGIN");
  await rival.query(
    `INSERT INTO recorded_answers SELECT tenant_id, 'caseworker', $2, request_hash, answer, case_id, version, expires_at
       FROM recorded_answers WHERE case_id = $1`,
    [caseId, requestId],
  );
  const caseworker = await cases.as("caseworker");
  const submitted = caseworker.submitCase({ requestId, caseId }, { timeoutMs: 20_000 });
  await waitUntil(async () => {
    const { rows } = await observer.query(
      "SELECT FROM pg_stat_activity WHERE usename = 'case_app' AND wait_event_type = 'Lock'",
    );
    return rows.length > 0;
  });
  await rival.query("SELECT FROM cases WHERE tenant_id = $1 AND case_id = $2 FOR UPDATE", [tenant, caseId]); // Once the other is dead.
  await rival.query("ROLLBACK");
  expect((await submitted).case!.version).toBe(2);
  await waitUntil(async () => {
    const { rows } = await observer.query(
      "SELECT deadlocks::integer FROM pg_stat_database WHERE datname = $1",
      [cases.database.name],
    );
    return rows[0].deadlocks > 0;
  });
  const { rows } = await observer.query(
    "SELECT version FROM audit_entries WHERE case_id = $1 ORDER BY version",
    [caseId],
  );
  expect(rows).toEqual([{ version: 1 }, { version: 2 }]);
});

test("a write that fails to serialize is done again until it goes through, once", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const caseId = await openCase(cases);
  // Refuses twice, as a database of more than one node might.
  await superuser.query(`
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
      IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'no' USING ERRCODE = 'serialization_failure'; END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER fails BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION fail()`);
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId };
  expect((await caseworker.submitCase(request)).case!.version).toBe(2);
  const { rows } = await superuser.query("SELECT last_value::integer AS tries FROM tries");
  expect(rows).toEqual([{ tries: 3 }]);
  const entries = await superuser.query(
    "SELECT version FROM audit_entries WHERE case_id = $1 ORDER BY version",
    [caseId],
  );
  expect(entries.rows).toEqual([{ version: 1 }, { version: 2 }]);
});
