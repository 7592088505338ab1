import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { openCase, setPolicy, startCaseService, tenant } from "./support/case-service.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";
import { waitUntil } from "./support/wait-until.ts";
import { openWatch, startWatch } from "./support/watcher.ts";

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

test("a read that PostgreSQL picks as the victim of a deadlock is done again, and nobody is told", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  await using rival = await openSuperuser(cases.database.superuserUrl);
  await using observer = await openSuperuser(cases.database.superuserUrl);
  const caseId = await openCase(cases);
  const auditor = await cases.as("auditor");
  // As a migration may: the rival holds the contents; the read holds the cases and waits for the contents; then the rival wants the cases.
  await rival.query("SET deadlock_timeout = '1h'"); // It is not the one who finds the deadlock, and so is not the victim.
  await rival.query("BEGIN");
  await rival.query("LOCK TABLE case_contents IN ACCESS EXCLUSIVE MODE");
  const read = refusalOf(auditor.getCase({ caseId }, { timeoutMs: 20_000 }));
  await waitUntil(async () => {
    const { rows } = await observer.query(
      "SELECT FROM pg_locks WHERE relation = 'case_contents'::regclass AND NOT granted",
    );
    return rows.length > 0;
  });
  await rival.query("LOCK TABLE cases IN ACCESS EXCLUSIVE MODE"); // Once the read is dead.
  await rival.query("ROLLBACK");
  expect(await read).toBe("accepted");
  await waitUntil(async () => {
    const { rows } = await observer.query(
      "SELECT deadlocks::integer FROM pg_stat_database WHERE datname = $1",
      [cases.database.name],
    );
    return rows[0].deadlocks === 1;
  });
});

test("every read that fails to serialize is done again until it goes through", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  await setPolicy(cases, "permit");
  const [auditor, admin] = [await cases.as("auditor"), await cases.admin()];
  const watched = await openWatch(auditor);
  await watched.cut();
  const caseId = await openCase(cases, "assigned");
  // Refuses as often as is wanted, and counts by advisory locks, which outlive the transactions that it ends.
  await superuser.query(`
    CREATE TABLE refusals (wanted integer NOT NULL);
    INSERT INTO refusals VALUES (0);
    CREATE FUNCTION refused() RETURNS bigint LANGUAGE sql VOLATILE AS $$
      SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
       WHERE l.locktype = 'advisory' AND d.datname = current_database()
    $$;
    CREATE FUNCTION let_pass() RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
    BEGIN
      IF refused() >= (SELECT wanted FROM refusals) THEN RETURN true; END IF;
      PERFORM pg_advisory_lock(refused());
      RAISE EXCEPTION 'no' USING ERRCODE = 'serialization_failure';
    END $$`);
  for (const table of ["cases", "audit_entries", "case_policies"]) {
    await superuser.query(
      `CREATE POLICY now_and_then ON ${table} AS RESTRICTIVE FOR SELECT USING (let_pass())`,
    );
  }
  const reads: Record<string, () => Promise<unknown>> = {
    GetCase: () => auditor.getCase({ caseId }),
    ListCases: () => auditor.listCases({}),
    GetCaseHistory: () => auditor.getCaseHistory({ caseId }),
    GetCasePolicy: () => admin.getCasePolicy({ caseType: "permit" }),
    WatchCases: async () => {
      await using watcher = startWatch(auditor, watched.resumeToken);
      await watcher.until((messages) => messages.some((message) => message.case?.caseId === caseId));
    },
    "the look before a write": async () =>
      (await cases.as("reviewer")).startReview({ requestId: randomUUID(), caseId }),
  };
  for (const [name, read] of Object.entries(reads)) {
    await superuser.query("UPDATE refusals SET wanted = wanted + 2");
    expect(await refusalOf(read()), name).toBe("accepted");
    const { rows } = await superuser.query("SELECT refused()::integer = wanted AS refused FROM refusals");
    expect(rows, name).toEqual([{ refused: true }]);
  }
});
