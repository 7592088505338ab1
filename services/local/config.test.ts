import { resolve } from "node:path";

import { expect, test } from "vitest";

import { readConfig } from "./config.ts";

const urls = {
  CASE_DATABASE_URL: "postgresql://app@db/case",
  CASE_OWNER_DATABASE_URL: "postgresql://owner@db/case",
  CASE_RELAY_DATABASE_URL: "postgresql://relay@db/case",
  AUDIT_DATABASE_URL: "postgresql://app@db/audit",
  AUDIT_OWNER_DATABASE_URL: "postgresql://owner@db/audit",
  AUDIT_SIGNER_DATABASE_URL: "postgresql://signer@db/audit",
};

test("without settings everything is the stack's own, on the ports of the interface", () => {
  const config = readConfig({});
  expect(config.home).toBe(resolve(".caseflow"));
  expect(config.host).toBe("127.0.0.1");
  expect(config.ports).toEqual({
    CASE_PORT: 7080,
    CASE_METRICS_PORT: 7090,
    AUDIT_PORT: 7081,
    AUDIT_METRICS_PORT: 7091,
  });
  expect(config.databases).toBeUndefined();
  expect(config.foreignIssuer).toBeUndefined();
});

test("six database URLs stand in for the stack's own PostgreSQL", () => {
  expect(readConfig(urls).databases).toEqual({
    caseOwner: "postgresql://owner@db/case",
    caseApp: "postgresql://app@db/case",
    caseRelay: "postgresql://relay@db/case",
    auditOwner: "postgresql://owner@db/audit",
    auditApp: "postgresql://app@db/audit",
    auditSigner: "postgresql://signer@db/audit",
  });
});

test.each(Object.keys(urls))("of five database URLs the missing one is named: %s", (missing) => {
  const env = { ...urls, [missing]: "" };
  expect(() => readConfig(env)).toThrow(new RegExp(`^${missing}: not set, though other database URLs are`));
});

test("keys of another issuer ask for a token for the relay", () => {
  expect(() => readConfig({ CASEFLOW_JWKS: "https://issuer.test/keys" })).toThrow(
    /^AUDIT_TOKEN_FILE: not set/,
  );
  const { foreignIssuer } = readConfig({ CASEFLOW_JWKS: "https://issuer.test/keys", AUDIT_TOKEN_FILE: "/t" });
  expect(foreignIssuer?.jwks.href).toBe("https://issuer.test/keys");
  expect(foreignIssuer?.relayTokenFile).toBe("/t");
});
