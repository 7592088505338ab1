import { afterAll, beforeAll, expect, test } from "vitest";
import { startProcessPair, type ProcessPair } from "./support/process-pair.ts";

/* What operators are shown of running services. */

let pair: ProcessPair;
const password = "hunter2";

beforeAll(async () => {
  pair = await startProcessPair(
    { CASEFLOW_DEBUG_TENANT: "acme", CASEFLOW_DRAIN_MS: "3000" },
    // The server does not ask for it.
    { toCaseDatabase: async (url) => url.replace("@", `:${password}@`) },
  );
});
afterAll(() => pair[Symbol.asyncDispose]());

async function ask(service: "cases" | "audit", method: string, path: string, tenant = "acme") {
  const token = await pair.issuer.token({ tenant, sub: "operator-1", roles: ["operator"] });
  const headers = { authorization: `Bearer ${token}` };
  return fetch(`${pair[service].metricsUrl}${path}`, { method, headers });
}

test("both services show their settings with whether they were set, and no password", async () => {
  const settingsOf = async (service: "cases" | "audit") => {
    const text = await (await ask(service, "GET", "/settings", "other")).text();
    expect(text).not.toContain(password);
    const shown: { name: string; value: unknown; isDefault: boolean }[] = JSON.parse(text);
    return new Map(shown.map(({ name, value, isDefault }) => [name, [value, isDefault]]));
  };
  const cases = await settingsOf("cases");
  const ofDatabase = (user: string) =>
    expect.stringMatching(
      new RegExp(String.raw`^postgresql://${user}@localhost/\w+\?host=\[redacted\]&port=\[redacted\]$`),
    );
  expect(cases.get("CASE_DATABASE_URL")).toEqual([ofDatabase(String.raw`case_app:\[redacted\]`), false]);
  expect(cases.get("CASE_RELAY_DATABASE_URL")).toEqual([ofDatabase("case_relay"), false]);
  expect(cases.get("CASE_POOL_MAX")).toEqual([20, true]);
  expect(cases.get("RELAY")).toEqual(["in-process", true]);
  expect(cases.get("AUDIT_TOKEN_FILE")).toEqual([expect.stringContaining("caseflow-relay-token"), false]);
  expect(cases.get("CASEFLOW_DEBUG_TENANT")).toEqual(["acme", false]);
  const audit = await settingsOf("audit");
  expect(audit.get("AUDIT_DATABASE_URL")).toEqual([ofDatabase("audit_app"), false]);
  expect(audit.get("AUDIT_POOL_MAX")).toEqual([20, true]);
  expect([...pair.cases.lines, ...pair.audit.lines].join("\n")).not.toContain(password);
});

test("a heap snapshot comes in parts, to operators of the tenant that is named, and who took it is in the log", async () => {
  expect((await ask("audit", "POST", "/debug/heap", "other")).status).toBe(403);
  const answer = await ask("audit", "POST", "/debug/heap");
  expect(answer.status).toBe(200);
  expect(answer.headers.get("transfer-encoding")).toBe("chunked");
  const parts: Buffer[] = [];
  for await (const part of answer.body ?? []) parts.push(Buffer.from(part as Uint8Array));
  expect(parts.length).toBeGreaterThan(10);
  expect(parts[0]?.subarray(0, 13).toString()).toBe('{"snapshot":{');
  expect(parts.at(-1)?.toString()).toMatch(/\]\}\s*$/);
  const told = pair.audit.lines
    .filter((line) => line.includes("/debug/heap"))
    .map((line) => JSON.parse(line) as object);
  expect(told).toMatchObject([
    { level: "warn", page: "/debug/heap", status: 403, tenant: "other", principal: "operator-1" },
    { level: "warn", page: "/debug/heap", status: 200, tenant: "acme", principal: "operator-1" },
  ]);
});

test("a service that is told to stop while it is profiled ends, and ends the profile", async () => {
  const cut = ask("cases", "POST", "/debug/profile?seconds=60")
    .then((answer) => answer.text())
    .catch(() => "cut");
  const isTaking = () => pair.cases.lines.some((line) => line.includes('"/debug/profile","status":200'));
  await expect.poll(isTaking).toBe(true);
  expect(await pair.cases.end("SIGTERM")).toBe(0);
  expect(await cut).toBe("cut");
});
