import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { openCase, startCaseService, tenant, writeRelayToken } from "./support/case-service.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { startServiceProcess } from "./support/service-process.ts";
import { openSuperuser } from "./support/superuser.ts";

expectNoLeaks();

test("a row with a state that there is not cannot be restored", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  await openCase(cases, "approved");
  // Each row as a restore of data into a migrated schema would bring it, constraints in force.
  await expect(
    superuser.query("UPDATE audit_entries SET to_state = 'limbo' WHERE version = 2"),
  ).rejects.toMatchObject({ constraint: "audit_entries_transition_allowed" });
  const restored = superuser.query(`
    BEGIN;
    CREATE TEMPORARY TABLE dump ON COMMIT DROP AS SELECT * FROM cases;
    UPDATE dump SET state = 'limbo';
    TRUNCATE cases CASCADE;
    INSERT INTO cases SELECT * FROM dump;
    COMMIT`);
  await expect(restored).rejects.toMatchObject({
    constraint: expect.stringMatching(/^cases_(at_latest_entry|state_known)$/),
  });
});

test("a row with a state that there is not is an error and a log line wherever it is read, and never a default", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  const { database, issuer } = cases;
  await using service = await startServiceProcess("services/case/main.ts", {
    CASEFLOW_JWKS: issuer.jwks,
    CASEFLOW_JWT_ISSUER: issuer.issuer,
    CASEFLOW_JWT_AUDIENCE: issuer.audience,
    CASE_PORT: "0",
    CASE_METRICS_PORT: "0",
    CASE_DATABASE_URL: database.appUrl,
    CASE_RELAY_DATABASE_URL: database.relayUrl,
    AUDIT_URL: "http://127.0.0.1:1",
    AUDIT_TOKEN_FILE: await writeRelayToken(issuer),
  });
  const [damaged, sound] = [await openCase(cases, "approved"), await openCase(cases)];
  await using superuser = await openSuperuser(database.superuserUrl);
  // No constraints in the way, as in a restore that ended with errors which nobody read.
  await superuser.query("ALTER TABLE cases DROP CONSTRAINT IF EXISTS cases_state_known");
  await superuser.query("BEGIN");
  await superuser.query("SET LOCAL session_replication_role = replica");
  await superuser.query("UPDATE cases SET state = 'limbo' WHERE case_id = $1", [damaged]);
  await superuser.query("COMMIT");

  const token = await issuer.token({ tenant, sub: "everything", roles: ["supervisor", "auditor"] });
  await using client = createCaseClient({ url: service.url, token });
  for (const call of [
    () => client.getCase({ caseId: damaged }),
    () => client.listCases({}),
    () => client.closeCase({ requestId: randomUUID(), caseId: damaged }),
  ]) {
    const before = service.lines.length;
    expect(await refusalOf(call())).toBe("Internal (no reason)");
    const told = () =>
      service.lines.slice(before).some((line) => line.includes(`case ${damaged}: the stored row is damaged`));
    await expect.poll(told).toBe(true);
  }
  expect(await refusalOf(client.getCase({ caseId: sound }))).toBe("accepted");
  const { rows } = await superuser.query(
    "SELECT max(version) AS version FROM audit_entries WHERE case_id = $1",
    [damaged],
  );
  expect(rows).toEqual([{ version: 5 }]);
});
