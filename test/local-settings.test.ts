import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";

import { expect, test } from "vitest";

import { createCaseClient } from "#libs/client/case-client.ts";

import { cloneAuditDatabase, cloneCaseDatabase } from "./support/databases.ts";
import { npmStart, start, untilReady } from "./support/local-stack.ts";
import { makeTemporaryHome } from "./support/temporary-home.ts";
import { createIssuer } from "./support/tokens.ts";

test("settings put other databases and another issuer in place of the stack's own", async () => {
  await using temporary = await makeTemporaryHome();
  const home = temporary.path;
  await using cases = await cloneCaseDatabase();
  await using audit = await cloneAuditDatabase();
  await using issuer = await createIssuer();
  const relayToken = `${home}-relay-token`;
  await writeFile(relayToken, await issuer.token({ sub: "relay", kind: "service", roles: ["event_source"] }));
  const env = {
    CASE_DATABASE_URL: cases.appUrl,
    CASE_OWNER_DATABASE_URL: cases.ownerUrl,
    CASE_RELAY_DATABASE_URL: cases.relayUrl,
    AUDIT_DATABASE_URL: audit.appUrl,
    AUDIT_OWNER_DATABASE_URL: audit.ownerUrl,
    AUDIT_SIGNER_DATABASE_URL: audit.signerUrl,
    CASEFLOW_JWKS: issuer.jwks,
    CASEFLOW_JWT_ISSUER: issuer.issuer,
    CASEFLOW_JWT_AUDIENCE: issuer.audience,
    AUDIT_TOKEN_FILE: relayToken,
  };

  await using refused = start({ home, env }, "--reset");
  expect(await refused.ended).toBe(1);
  expect(refused.output()).toMatch(
    /^CASE_DATABASE_URL: --reset forgets the stack's own databases only; .*$/m,
  );

  await using starting = npmStart({ home, env });
  const stack = await untilReady(home, starting);
  expect(stack.postgres).toEqual({
    pid: null,
    caseUrl: cases.ownerUrl,
    auditUrl: audit.ownerUrl,
    caseAppUrl: cases.appUrl,
    auditAppUrl: audit.appUrl,
  });
  expect(stack).toMatchObject({ jwks: issuer.jwks, tokens: {} });
  const token = await issuer.token({ tenant: "t", sub: "ada", roles: ["caseworker"] });
  await using client = createCaseClient({ url: stack.case.url, token });
  const created = await client.createCase({ requestId: randomUUID(), caseType: "t", content: {} });
  expect(created.case?.creatorId).toBe("ada");
  starting.kill("SIGTERM");
  expect(await starting.ended).toBe(0);
}, 60_000);

test("a port that is taken is told with its setting, before anything is started", async () => {
  await using temporary = await makeTemporaryHome();
  const home = temporary.path;
  const squatter = createServer().listen(0, "127.0.0.1");
  await once(squatter, "listening");
  const address = squatter.address();
  const port = typeof address === "object" ? String(address?.port) : "";
  await using starting = start({ home, env: { AUDIT_METRICS_PORT: port } });
  expect(await starting.ended).toBe(1);
  expect(starting.output()).toMatch(
    new RegExp(`^AUDIT_METRICS_PORT: port ${port} on 127\\.0\\.0\\.1 is taken by another program; .*$`, "m"),
  );
  squatter.close();
});

test("a folder that cannot be written is told with its setting", async () => {
  await using temporary = await makeTemporaryHome();
  const file = `${temporary.path}-file`;
  await writeFile(file, "");
  for (const home of [join(file, "home"), "/proc/caseflow"]) {
    await using starting = start({ home });
    expect(await starting.ended).toBe(1);
    expect(starting.output()).toMatch(/^CASEFLOW_HOME: cannot write \/.* set it to a folder that .*$/m);
    expect(starting.output()).not.toMatch(/^ +at /m);
  }
});

test("settings that will not do are told all at once", async () => {
  await using temporary = await makeTemporaryHome();
  const env = { CASE_PORT: "http", AUDIT_PORT: "70000" };
  await using starting = start({ home: temporary.path, env });
  expect(await starting.ended).toBe(1);
  expect(starting.output()).toMatch(/^CASE_PORT: .*\nAUDIT_PORT: .*$/m);
});

test("an option that does not exist is refused", async () => {
  await using temporary = await makeTemporaryHome();
  await using starting = start({ home: temporary.path }, "--rest");
  expect(await starting.ended).toBe(1);
  expect(starting.output()).toContain("the one option is --reset");
});
