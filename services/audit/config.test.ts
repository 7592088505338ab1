import { expect, test } from "vitest";
import { readConfig } from "./config.ts";

const least = {
  AUDIT_DATABASE_URL: "postgresql://audit_app:secret@db/audit",
  CASEFLOW_JWKS: "https://issuer.test/jwks.json",
  CASEFLOW_JWT_ISSUER: "https://issuer.test",
  CASEFLOW_JWT_AUDIENCE: "caseflow",
};

test("what must be set is enough: the rest are the documented ports on the loopback interface", () => {
  expect(readConfig(least)).toMatchObject({
    host: "127.0.0.1",
    port: 7081,
    metricsPort: 7091,
    logLevel: "info",
  });
});

test("every fault is told at once, and none tells a password", () => {
  const wrong = {
    ...least,
    AUDIT_PORT: "70000",
    AUDIT_DATABASE_URL: "mysql://a:secret@db",
    CASEFLOW_JWKS: "",
  };
  expect(() => readConfig(wrong)).toThrow(/AUDIT_PORT.*\n.*AUDIT_DATABASE_URL.*\n.*CASEFLOW_JWKS/);
  expect(() => readConfig(wrong)).not.toThrow(/secret/);
});
