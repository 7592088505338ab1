import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import {
  base64url,
  exportJWK,
  generateKeyPair,
  generateSecret,
  SignJWT,
  type CryptoKey,
  type JWK,
} from "jose";
import { expect, test } from "vitest";

import { createTokenVerifier, TokenError, type TokenVerifier } from "./verify-token.ts";

const names = { issuer: "https://issuer.test", audience: "caseflow" };
const begin = Date.parse("2026-01-01T00:00:00Z");

test("a token's claims become a principal", async () => {
  await using set = await openSet();
  const token = await set.key.sign({
    sub: "ada",
    tenant_id: "harbour-city",
    roles: ["caseworker", "reviewer"],
    kind: "service",
    act: { sub: "grace", act: { sub: "older" } },
    sources: ["case-service"],
  });
  expect(await set.verifier.verify(token)).toEqual({
    id: "ada",
    kind: "service",
    tenantId: "harbour-city",
    roles: ["caseworker", "reviewer"],
    onBehalfOf: "grace",
    sources: ["case-service"],
    expiresAt: new Date(begin + 60_000),
  });
});

test("what a token does not claim its principal does not have", async () => {
  await using set = await openSet();
  expect(await set.verifier.verify(await set.key.sign({ sub: "ada" }))).toMatchObject({
    kind: "person",
    tenantId: undefined,
    roles: [],
    onBehalfOf: undefined,
    sources: [],
  });
});

test("ES256 and a file: URL will do as well", async () => {
  const key = await createKey("ES256");
  await using set = await openSet({ keys: [key] });
  const verifier = createTokenVerifier({ ...set.options, jwks: pathToFileURL(set.path).href });
  expect(await verifier.verify(await key.sign({ sub: "ada" }))).toMatchObject({ id: "ada" });
});

test.each([
  ["no subject", { sub: undefined }],
  ["an empty subject", { sub: "" }],
  ["a subject with a space", { sub: "a b" }],
  ["a subject that is too long", { sub: "x".repeat(129) }],
  ["a tenant in capitals", { tenant_id: "Harbour" }],
  ["a tenant with a quote", { tenant_id: "a'b" }],
  ["a tenant that is too long", { tenant_id: "x".repeat(64) }],
  ["a tenant that is no text", { tenant_id: 7 }],
  ["a tenant of null", { tenant_id: null }],
  ["roles that are no list", { roles: "supervisor" }],
  ["a role that is no text", { roles: [1] }],
  ["too many roles", { roles: Array.from({ length: 65 }, (_, index) => `r${index}`) }],
  ["another kind", { kind: "robot" }],
  ["somebody to act for who has no name", { kind: "service", act: {} }],
  ["somebody to act for who is no object", { kind: "service", act: "grace" }],
  ["somebody to act for, of a person", { kind: "person", act: { sub: "grace" } }],
  ["somebody to act for, of a person, who is the same", { kind: "person", act: { sub: "ada" } }],
  ["somebody to act for, of nobody says what kind", { act: { sub: "grace" } }],
  ["sources that are no list", { sources: {} }],
  ["an end beyond all dates", { exp: 1e18 }],
  ["an end that is no number", { exp: "tomorrow" }],
  ["no end", { exp: undefined }],
])("a token with %s is refused", async (_, claims) => {
  await using set = await openSet();
  await expectRefusal(set.verifier, await set.key.sign({ sub: "ada", ...claims }), "claims");
});

test.each([
  ["issuer", { iss: "https://other.test" }],
  ["issuer", { iss: undefined }],
  ["audience", { aud: "other" }],
  ["audience", { aud: ["other", "another"] }],
  ["expired", { exp: begin / 1_000 - 6 }],
  ["not_yet_valid", { nbf: begin / 1_000 + 6 }],
])("a token with a wrong %s is refused", async (why, claims) => {
  await using set = await openSet();
  await expectRefusal(set.verifier, await set.key.sign({ sub: "ada", ...claims }), why);
});

test("clocks may differ by the tolerance and no more", async () => {
  await using set = await openSet();
  const almost = { exp: begin / 1_000 - 4, nbf: begin / 1_000 + 5 };
  expect(await set.verifier.verify(await set.key.sign({ sub: "ada", ...almost }))).toMatchObject({
    id: "ada",
  });
});

test("a token that is signed with anything else is refused, whatever it says about its key", async () => {
  await using set = await openSet();
  const stranger = await createKey("EdDSA", set.key.jwk.kid);
  const unheard = await createKey("EdDSA", "unheard");
  const claims = { sub: "ada" };
  await expectRefusal(set.verifier, await stranger.sign(claims), "signature");
  await expectRefusal(set.verifier, await unheard.sign(claims), "unknown_key");
  // Were one of these followed, the token would verify.
  await using elsewhere = await serveSet([stranger, unheard]);
  for (const key of [stranger, unheard]) {
    const pointers = { jku: elsewhere.url, x5u: elsewhere.url, jwk: key.jwk };
    await expect(set.verifier.verify(await key.sign(claims, pointers))).rejects.toThrow(TokenError);
  }
  expect(elsewhere.asked()).toBe(0);
});

test("an algorithm outside of the two is refused, with or without a signature", async () => {
  const key = await createKey("RS256");
  await using set = await openSet({ keys: [key] });
  await expectRefusal(set.verifier, await key.sign({ sub: "ada" }), "algorithm");
  const none = `${encode({ alg: "none" })}.${encode({ sub: "ada", ...standard() })}.`;
  await expectRefusal(set.verifier, none, "algorithm");
  const secret = await generateSecret("HS256", { extractable: true });
  const hmac = await new SignJWT({ sub: "ada", ...standard() })
    .setProtectedHeader({ alg: "HS256" })
    .sign(secret);
  await expectRefusal(set.verifier, hmac, "algorithm");
});

test.each(["", ".", "..", "a.b.c", "a.b.c.d", "%", "\u0000", `${"e30".repeat(3)}.e30.e30`])(
  "%j is no token",
  async (token) => {
    await using set = await openSet();
    await expectRefusal(set.verifier, token, "malformed");
  },
);

test("a token beyond 8 KiB is not even looked at", async () => {
  await using set = await openSet();
  await expectRefusal(set.verifier, await set.key.sign({ sub: "ada", note: "x".repeat(8_192) }), "too_long");
  await expectRefusal(set.verifier, "x".repeat(8_193), "too_long");
});

test("a verified token is remembered until it expires, and is refused from then on", async () => {
  await using set = await openSet();
  const token = await set.key.sign({ sub: "ada" });
  const principal = await set.verifier.verify(token);
  set.tick(64);
  expect(await set.verifier.verify(token)).toBe(principal);
  set.tick(1);
  await expectRefusal(set.verifier, token, "expired");
});

test("no more tokens are remembered than the limit says", async () => {
  await using set = await openSet();
  const oldest = await set.key.sign({ sub: "ada" });
  const principal = await set.verifier.verify(oldest);
  for (let index = 0; index < 2_047; index++)
    await set.verifier.verify(await set.key.sign({ sub: `s${index}` }));
  expect(await set.verifier.verify(oldest)).toBe(principal);
  await set.verifier.verify(await set.key.sign({ sub: "one-more" }));
  const again = await set.verifier.verify(oldest);
  expect(again).not.toBe(principal);
  expect(again).toEqual(principal);
});

test("a key that is taken out of the file takes its tokens with it, remembered or not", async () => {
  const other = await createKey("EdDSA");
  await using set = await openSet();
  const token = await set.key.sign({ sub: "ada" });
  await set.verifier.verify(token);
  await set.write([other]);
  set.tick(1);
  await expectRefusal(set.verifier, token, "unknown_key");
  expect(await set.verifier.verify(await other.sign({ sub: "grace" }))).toMatchObject({ id: "grace" });
});

test("a file that cannot be read leaves the known keys in force, and is read again once it can be", async () => {
  const other = await createKey("EdDSA");
  await using set = await openSet();
  const token = await set.key.sign({ sub: "ada" });
  const principal = await set.verifier.verify(token);
  for (const rubbish of [
    "",
    "{",
    "[]",
    `{"keys":7}`,
    "null",
    JSON.stringify({ keys: Array.from({ length: 101 }, () => ({})) }),
  ]) {
    await writeFile(set.path, rubbish);
    set.tick(1);
    expect(await set.verifier.verify(token)).toBe(principal);
  }
  expect(set.failures).toHaveLength(6);
  await set.write([set.key, other]);
  set.tick(1);
  expect(await set.verifier.verify(await other.sign({ sub: "grace" }))).toMatchObject({ id: "grace" });
});

test("without any key nothing can be verified, which is not the token's fault, and is over when there are keys", async () => {
  await using set = await openSet();
  await rm(set.path);
  const token = await set.key.sign({ sub: "ada" });
  await expectRefusal(set.verifier, token, "keys_unavailable");
  await set.write([set.key]);
  await expectRefusal(set.verifier, token, "keys_unavailable");
  set.tick(1);
  expect(await set.verifier.verify(token)).toMatchObject({ id: "ada" });
});

test("a new key at a URL is found when it is first used, and strangers cannot make us ask again and again", async () => {
  const [old, fresh] = [await createKey("EdDSA"), await createKey("EdDSA")];
  await using remote = await serveSet([old]);
  await using set = await openSet({ jwks: remote.url });
  await set.verifier.verify(await old.sign({ sub: "ada" }));
  expect(remote.asked()).toBe(1);
  remote.publish([old, fresh]);
  const token = await fresh.sign({ sub: "grace" });
  await expectRefusal(set.verifier, token, "unknown_key");
  set.tick(30);
  expect(await set.verifier.verify(token)).toMatchObject({ id: "grace" });
  expect(remote.asked()).toBe(2);
  const stranger = await createKey("EdDSA");
  for (let index = 0; index < 5; index++) {
    await expectRefusal(set.verifier, await stranger.sign({ sub: `s${index}` }), "unknown_key");
  }
  expect(remote.asked()).toBe(2);
});

test("a key that is withdrawn at a URL is out of force after five minutes", async () => {
  const [old, fresh] = [await createKey("EdDSA"), await createKey("EdDSA")];
  await using remote = await serveSet([old]);
  await using set = await openSet({ jwks: remote.url });
  const token = await old.sign({ sub: "ada", exp: begin / 1_000 + 3_600 });
  await set.verifier.verify(token);
  remote.publish([fresh]);
  set.tick(300);
  await set.verifier.verify(token); // Nobody waits for the look that this one causes.
  await remote.answered(2);
  await expectRefusalSoon(set.verifier, token, "unknown_key");
});

test.each([
  ["is down", "down"],
  ["answers with an error", 500],
  ["answers with a redirect", 302],
  ["answers with too much", JSON.stringify({ keys: [], pad: "x".repeat(300_000) })],
  ["answers with something else", "<html>"],
])("known keys go on while their URL %s, and unknown ones are refused at once", async (_, trouble) => {
  const [key, stranger] = [await createKey("EdDSA"), await createKey("EdDSA")];
  await using remote = await serveSet([key]);
  await using set = await openSet({ jwks: remote.url });
  const claims = { exp: begin / 1_000 + 36_000 };
  await set.verifier.verify(await key.sign({ sub: "ada", ...claims }));
  await remote.breakWith(trouble);
  set.tick(3_600);
  expect(await set.verifier.verify(await key.sign({ sub: "new", ...claims }))).toMatchObject({ id: "new" });
  await expectRefusal(set.verifier, await stranger.sign({ sub: "eve", ...claims }), "unknown_key");
  const failures = set.failures.length;
  expect(failures).toBeGreaterThan(0);
  await expectRefusal(set.verifier, await stranger.sign({ sub: "eva", ...claims }), "unknown_key");
  expect(set.failures).toHaveLength(failures);
});

interface TestKey {
  readonly jwk: JWK;
  sign(claims: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
}

let keyCount = 0;

async function createKey(alg: string, kid = `key-${++keyCount}`): Promise<TestKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid, alg };
  return { jwk, sign: (claims, header = {}) => sign(privateKey, { alg, kid, ...header }, claims) };
}

function sign(
  key: CryptoKey,
  header: { readonly alg: string; readonly kid: string },
  claims: Record<string, unknown>,
): Promise<string> {
  return new SignJWT({ ...standard(), ...claims }).setProtectedHeader(header).sign(key);
}

function standard() {
  return { iss: names.issuer, aud: names.audience, exp: begin / 1_000 + 60 };
}

function encode(value: unknown): string {
  return base64url.encode(JSON.stringify(value));
}

/** A key set in a file, and a verifier with a clock that stands still. */
async function openSet(given: { readonly keys?: readonly TestKey[]; readonly jwks?: string } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "jwks-"));
  const path = join(folder, "jwks.json");
  const key = given.keys?.[0] ?? (await createKey("EdDSA"));
  const write = (keys: readonly TestKey[]) =>
    writeFile(path, JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }));
  await write(given.keys ?? [key]);
  const failures: unknown[] = [];
  let now = begin;
  const options = {
    ...names,
    jwks: given.jwks ?? path,
    clockToleranceSeconds: 5,
    now: () => new Date(now),
    onKeysFailure: (error: unknown) => failures.push(error),
  };
  return {
    path,
    key,
    write,
    failures,
    options,
    verifier: createTokenVerifier(options),
    tick(seconds: number) {
      now += seconds * 1_000;
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
}

async function serveSet(keys: readonly TestKey[]) {
  let body = "";
  let status = 200;
  const asked: unknown[] = [];
  let changed = Promise.withResolvers<void>();
  const publish = (next: readonly TestKey[]) => {
    body = JSON.stringify({ keys: next.map(({ jwk }) => jwk) });
  };
  publish(keys);
  const server = createServer(({ url }, response: ServerResponse) => {
    response.writeHead(url === "/elsewhere" ? 200 : status, { location: "/elsewhere", connection: "close" });
    response.end(body, () => {
      asked.push(body);
      changed.resolve();
      changed = Promise.withResolvers();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => new Promise<void>((resolve) => void server.close(() => resolve()));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`,
    publish,
    asked: () => asked.length,
    async answered(count: number) {
      while (asked.length < count) await changed.promise;
    },
    async breakWith(trouble: string | number) {
      if (trouble === "down") await close();
      else if (typeof trouble === "number") status = trouble;
      else body = trouble;
    },
    [Symbol.asyncDispose]: close,
  };
}

async function expectRefusal(verifier: TokenVerifier, token: string, why: string): Promise<void> {
  await expect(verifier.verify(token)).rejects.toMatchObject({ name: "TokenError", why });
}

/** The look itself goes on in the background. */
async function expectRefusalSoon(verifier: TokenVerifier, token: string, why: string): Promise<void> {
  await expect.poll(() => verifier.verify(token).catch((error: TokenError) => error.why)).toBe(why);
}
