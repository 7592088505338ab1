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

const signing = {
  AUDIT_SIGNER_DATABASE_URL: "postgresql://audit_signer:secret@db/audit",
  AUDIT_SIGNING_KEYS: "/run/keys",
  AUDIT_SIGNER_HOME: "/var/lib/signer",
  CASEFLOW_LOG_ORIGIN: "example.org/log",
};

test("a process signs when it is told with what, and not because it knows the origin", () => {
  expect(readConfig(least).signer).toBeUndefined();
  const { CASEFLOW_LOG_ORIGIN } = signing;
  expect(readConfig({ ...least, CASEFLOW_LOG_ORIGIN, AUDIT_SIGNER_HOME: " " }).signer).toBeUndefined();
  expect(readConfig({ ...least, ...signing }).signer).toEqual({
    signerDatabaseUrl: "postgresql://audit_signer:secret@db/audit",
    signingKeys: "/run/keys",
    signerHome: "/var/lib/signer",
    logOrigin: "example.org/log",
  });
});

test.each(Object.keys(signing))(
  "a process that is told a part of it is told what is missing: %s",
  (missing) => {
    const env = { ...least, ...signing, [missing]: "" };
    expect(() => readConfig(env)).toThrow(new RegExp(`^${missing}: not set`));
  },
);

test.each(["https://example.org/log", "example.org/log/", "a+b", "a b", "Example.org", "x".repeat(191)])(
  "%j is no origin of a log",
  (origin) => {
    const env = { ...least, ...signing, CASEFLOW_LOG_ORIGIN: origin };
    expect(() => readConfig(env)).toThrow(/^CASEFLOW_LOG_ORIGIN: /);
  },
);
