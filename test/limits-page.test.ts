import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { bucketsMax } from "#libs/limits/memory-buckets.ts";
import { defaultLimits } from "#libs/rpc/connection-limits.ts";
import { watchersMax } from "#libs/rpc/health.ts";
import { defaultRates } from "#libs/service/limit-settings.ts";
import { readConfig as readAuditConfig } from "#services/audit/config.ts";
import * as audit from "#services/audit/main.ts";
import { readConfig as readCaseConfig } from "#services/case/config.ts";
import * as cases from "#services/case/main.ts";

interface Row {
  readonly name: string;
  readonly value: number;
  readonly setting: string | undefined;
}

const rowPattern = /^\| `([\w.]+)` \| ([\d,]+) \| (?:`(\w+)` )?\|/gm;

async function readRows(): Promise<readonly Row[]> {
  const page = await readFile(new URL("../docs/limits.md", import.meta.url), "utf8");
  return Array.from(page.matchAll(rowPattern), ([, name = "", value = "", setting]) => ({
    name,
    value: Number(value.replaceAll(",", "")),
    setting,
  }));
}

test("the page on limits has each limit of the code, with its value, and no other", async () => {
  const { rateStore: _, ...rates } = defaultRates;
  const sizes = (prefix: string, { readMaxBytes, writeMaxBytes }: typeof cases | typeof audit) => ({
    [`${prefix}.readMaxBytes`]: readMaxBytes,
    [`${prefix}.writeMaxBytes`]: writeMaxBytes,
  });
  const streams = (prefix: string, { streamsMax, streamsPerTenantMax }: typeof audit.exportLimits) => ({
    [`${prefix}.streamsMax`]: streamsMax,
    [`${prefix}.streamsPerTenantMax`]: streamsPerTenantMax,
  });
  expect(Object.fromEntries((await readRows()).map(({ name, value }) => [name, value]))).toEqual({
    ...rates,
    bucketsMax,
    ...sizes("case", cases),
    ...sizes("audit", audit),
    ...defaultLimits,
    ...streams("watches", cases.watchLimits),
    ...streams("tails", audit.tailLimits),
    ...streams("exports", audit.exportLimits),
    watchersMax,
  });
});

test("both services read each rate from the setting that the page names, and have its value without", async () => {
  const env = {
    CASE_DATABASE_URL: "postgresql://case_app@db/case",
    AUDIT_DATABASE_URL: "postgresql://audit_app@db/audit",
    RELAY: "off",
    CASEFLOW_JWKS: "keys.json",
    CASEFLOW_JWT_ISSUER: "i",
    CASEFLOW_JWT_AUDIENCE: "a",
  };
  const rows = (await readRows()).filter(({ setting }) => setting !== undefined);
  expect(rows.length).toBeGreaterThan(4);
  for (const readConfig of [readCaseConfig, readAuditConfig]) {
    expect(readConfig(env).rates).toEqual(defaultRates);
    for (const { name, setting } of rows) {
      expect(readConfig({ ...env, [setting!]: "17" }).rates).toEqual({ ...defaultRates, [name]: 17 });
      expect(() => readConfig({ ...env, [setting!]: "0" })).toThrow(setting);
    }
    expect(readConfig({ ...env, CASEFLOW_RATE_STORE: "postgres" }).rates.rateStore).toBe("postgres");
  }
});
