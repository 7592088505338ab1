import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createLocalJWKSet, decodeProtectedHeader, jwtVerify, type JSONWebKeySet } from "jose";
import { expect, test } from "vitest";

import { createLocalIssuer, openLocalIssuer } from "./local-issuer.ts";

const names = { issuer: "caseflow-test", audience: "caseflow" };
const clerk = { subject: "ada", tenantId: "harbour-city", roles: ["caseworker"], kind: "person" } as const;

test("a token verifies against the published set and carries every claim it was given", async () => {
  await using home = await openFolder();
  const issuer = await createLocalIssuer(home.path, names);

  const token = await issuer.sign({ ...clerk, kind: "service", onBehalfOf: "grace", sources: ["a/b"] }, 60);

  const keys = createLocalJWKSet(await readSet(issuer.jwksFile));
  const { payload } = await jwtVerify(token, keys, { ...names, algorithms: ["EdDSA"] });
  expect(payload).toMatchObject({
    sub: "ada",
    tenant_id: "harbour-city",
    roles: ["caseworker"],
    kind: "service",
    act: { sub: "grace" },
    sources: ["a/b"],
  });
  expect(Number(payload.exp) - Number(payload.iat)).toBe(60);
});

test("claims that were not given are absent from the token", async () => {
  await using home = await openFolder();
  const issuer = await createLocalIssuer(home.path, names);
  const token = await issuer.sign({ subject: "case-relay", roles: ["event_source"], kind: "service" }, 60);
  const { payload } = await jwtVerify(token, createLocalJWKSet(await readSet(issuer.jwksFile)), names);
  expect(Object.keys(payload).toSorted()).toEqual(["aud", "exp", "iat", "iss", "kind", "roles", "sub"]);
});

test("only the owner can read the key, and the published set has no private half", async () => {
  await using home = await openFolder();
  const issuer = await createLocalIssuer(home.path, names);
  expect((await stat(join(home.path, "issuer-key.json"))).mode & 0o777).toBe(0o600);
  expect((await readSet(issuer.jwksFile)).keys[0]).not.toHaveProperty("d");
});

test("the key made first is kept by everyone who opens the folder later", async () => {
  await using home = await openFolder();
  expect(await openLocalIssuer(home.path, names)).toBeUndefined();
  const issuers = [await createLocalIssuer(home.path, names), await createLocalIssuer(home.path, names)];
  const opened = await openLocalIssuer(home.path, names);
  const tokens = await Promise.all([...issuers, opened].map(async (issuer) => issuer?.sign(clerk, 60)));
  expect(new Set(tokens.map((token) => decodeProtectedHeader(token ?? "").kid)).size).toBe(1);
});

test("a key file that holds no key is refused by name and left as it is", async () => {
  await using home = await openFolder();
  const path = join(home.path, "issuer-key.json");
  await writeFile(path, "{}");
  await expect(createLocalIssuer(home.path, names)).rejects.toThrow(path);
  expect(await readFile(path, "utf8")).toBe("{}");
});

async function readSet(path: string): Promise<JSONWebKeySet> {
  return JSON.parse(await readFile(path, "utf8")) as JSONWebKeySet;
}

async function openFolder() {
  const path = await mkdtemp(join(tmpdir(), "issuer-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}
