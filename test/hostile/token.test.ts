import { afterAll, beforeAll, expect, test } from "vitest";
import { startKeyServer, type KeyServer } from "../support/attack-key-server.ts";
import { compose, createKey, hmac, tokenBy, type Part } from "../support/attack-keys.ts";
import {
  expectUnauthenticated,
  goodClaims,
  startTokenTarget,
  type TokenTarget,
} from "../support/attack-token.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

const known = createKey("EdDSA");
const knownToo = createKey("ES256");
/** In the set, though nothing may be signed with it. */
const rsa = createKey("RS256");
const stranger = createKey("EdDSA");

const stack = new AsyncDisposableStack();
let attackersKeys: KeyServer;
let target: TokenTarget;

beforeAll(async () => {
  const keys = stack.use(await startKeyServer([known, knownToo, rsa]));
  attackersKeys = stack.use(await startKeyServer([stranger, createKey("EdDSA", known.kid)]));
  target = stack.use(await startTokenTarget(keys.url));
});
afterAll(() => stack.disposeAsync());

const inAnHour = () => Math.floor(Date.now() / 1_000) + 3_600;
const anHourAgo = () => Math.floor(Date.now() / 1_000) - 3_600;

/** A token by a key of the set, whose claims are good but for these; `undefined` leaves a claim out. */
function claiming(changes: Record<string, unknown>): string {
  return tokenBy(known, { ...goodClaims(), ...changes });
}

/** Good claims under another header, signed well. */
function headed(header: Part, sign = known.sign): string {
  return compose(header, goodClaims(), sign);
}

const header = { alg: "EdDSA", kid: known.kid };
const good = () => tokenBy(known, goodClaims());
const swapPart = (index: number, part: string) => good().split(".").toSpliced(index, 1, part).join(".");
const encode = (text: string) => Buffer.from(text).toString("base64url");

test.each([
  ["of a known key", good],
  ["of another known key", () => tokenBy(knownToo, goodClaims())],
  ["for several audiences, ours among them", () => claiming({ aud: ["other", goodClaims()["aud"]] })],
])("a token %s is accepted, so that refusals mean something", async (_, token) => {
  const { created, recorded } = await target.write(`Bearer ${token()}`);
  expect([created.outcome, recorded.outcome]).toEqual(["ok", "ok"]);
});

const refused: readonly [string, () => string | undefined][] = [
  ["nothing", () => undefined],
  ["a scheme and nothing", () => "Bearer"],
  ["an empty token", () => "Bearer "],
  ["another scheme", () => `Basic ${good()}`],
  ["no scheme", () => good()],
  ["two tokens", () => `Bearer ${good()}, Bearer ${good()}`],
  ["a token with spaces", () => `Bearer ${good().replaceAll(".", ". ")}`],
];

const forged: readonly [string, () => string][] = [
  ["expired", () => claiming({ exp: anHourAgo() })],
  ["of an end of 0", () => claiming({ exp: 0 })],
  ["of no end", () => claiming({ exp: undefined })],
  ["of an end in words", () => claiming({ exp: String(inAnHour()) })],
  ["of an end beyond all dates", () => claiming({ exp: 1e300 })],
  ["not valid yet", () => claiming({ nbf: inAnHour() })],
  ["of another issuer", () => claiming({ iss: "https://issuer.test" })],
  ["of nearly the issuer", () => claiming({ iss: `${String(goodClaims()["iss"])}/` })],
  ["of no issuer", () => claiming({ iss: undefined })],
  ["for another audience", () => claiming({ aud: "other" })],
  ["for no audience", () => claiming({ aud: undefined })],
  ["for an empty list of audiences", () => claiming({ aud: [] })],
  ["of nobody", () => claiming({ sub: undefined })],
  ["of an empty name", () => claiming({ sub: "" })],
  ["of a number", () => claiming({ sub: 7 })],
  ["of a name with a line in it", () => claiming({ sub: "a\nb" })],

  ["without a signature, alg none", () => headed({ alg: "none" }, () => Buffer.alloc(0))],
  ["without a signature, alg None", () => headed({ ...header, alg: "None" }, () => Buffer.alloc(0))],
  ["signed well, alg none", () => headed({ ...header, alg: "none" })],
  ["signed well, no alg", () => headed({ kid: known.kid })],
  ["signed well, a list of algs", () => headed({ ...header, alg: ["EdDSA"] })],
  [
    "signed well, whose alg is named twice",
    () => headed(`{"alg":"EdDSA","kid":"${known.kid}","alg":"none"}`),
  ],
  ["signed well, alg of another key", () => headed({ ...header, alg: "ES256" })],
  ["HS256 under the public key's PEM", () => headed({ ...header, alg: "HS256" }, hmac(pem()))],
  [
    "HS256 under the public key's bytes",
    () => headed({ ...header, alg: "HS256" }, hmac(Buffer.from(known.jwk.x!, "base64url"))),
  ],
  [
    "HS256 under the public key's JWK",
    () => headed({ ...header, alg: "HS256" }, hmac(JSON.stringify(known.jwk))),
  ],
  ["HS256 under nothing", () => headed({ ...header, alg: "HS256" }, hmac(""))],
  ["RS256 of a key in the set", () => tokenBy(rsa, goodClaims())],
  ["of an RSA key that says EdDSA", () => tokenBy(rsa, goodClaims(), { alg: "EdDSA" })],

  ["of a key that nobody knows", () => tokenBy(stranger, goodClaims())],
  ["of a stranger under a known key's name", () => tokenBy(stranger, goodClaims(), { kid: known.kid })],
  ["under the name of another known key", () => tokenBy(known, goodClaims(), { kid: knownToo.kid })],
  ["of a key named as a file", () => tokenBy(stranger, goodClaims(), { kid: "../../../dev/null" })],
  ["of a key named as SQL", () => tokenBy(stranger, goodClaims(), { kid: "' OR 1=1 --" })],
  ["of a key named by a number", () => tokenBy(stranger, goodClaims(), { kid: 7 })],
  ["of a stranger and no key name", () => tokenBy(stranger, goodClaims(), { kid: undefined })],
  ...["jku", "x5u"].map((name): [string, () => string] => [
    `of a stranger, with ${name}`,
    () => tokenBy(stranger, goodClaims(), { [name]: attackersKeys.url }),
  ]),
  [
    "of a known name, with jku",
    () => tokenBy(stranger, goodClaims(), { kid: known.kid, jku: attackersKeys.url }),
  ],
  ["of a stranger, with its own jwk", () => tokenBy(stranger, goodClaims(), { jwk: stranger.jwk })],
  [
    "of a known name, with a stranger's jwk",
    () => tokenBy(stranger, goodClaims(), { kid: known.kid, jwk: stranger.jwk }),
  ],
  ["with a rule that must be understood", () => headed({ ...header, crit: ["mine"], mine: true })],
  ["whose claims are not encoded", () => headed({ ...header, crit: ["b64"], b64: false })],

  [
    "of claims that were changed",
    () => swapPart(1, encode(JSON.stringify({ ...goodClaims(), tenant_id: "other" }))),
  ],
  ["of a header that was changed", () => swapPart(0, encode(JSON.stringify({ ...header, typ: "other" })))],
  ["of a signature cut short", () => good().slice(0, -4)],
  ["of no signature", () => swapPart(2, "")],
  ["of zeroes for a signature", () => swapPart(2, Buffer.alloc(64).toString("base64url"))],
  [
    "of zeroes for an ES256 signature",
    () => compose({ alg: "ES256", kid: knownToo.kid }, goodClaims(), () => Buffer.alloc(64)),
  ],
  ["of two parts", () => good().split(".").slice(0, 2).join(".")],
  ["of four parts", () => `${good()}.e30`],
  ["of five parts", () => `${good()}.e30.e30`],
  ["of claims that are text", () => compose(header, `"roles"`, known.sign)],
  ["of claims that are a list", () => compose(header, "[]", known.sign)],
  ["of claims that are null", () => compose(header, "null", known.sign)],
  ["of claims that are no JSON", () => compose(header, "{", known.sign)],
  ["of 9 KB", () => claiming({ note: "x".repeat(9_000) })],

  ["whose roles are text", () => claiming({ roles: "caseworker event_source" })],
  ["whose roles are an object", () => claiming({ roles: { 0: "caseworker", length: 1 } })],
  ["whose roles are a list of lists", () => claiming({ roles: [["caseworker", "event_source"]] })],
  ["whose roles hold null", () => claiming({ roles: ["caseworker", "event_source", null] })],
  ...[
    "acme'; DROP TABLE cases; --",
    "acme' OR '1'='1",
    "Acme",
    "",
    " acme",
    "acme\0",
    "../acme",
    "açme",
    "a".repeat(64),
  ].map((tenantId): [string, () => string] => [
    `for tenant ${JSON.stringify(tenantId)}`,
    () => claiming({ tenant_id: tenantId }),
  ]),
  ["for a list of tenants", () => claiming({ tenant_id: ["acme"] })],
  ["for tenant null", () => claiming({ tenant_id: null })],
];

function pem(): string {
  return known.publicKey.export({ type: "spki", format: "pem" }).toString();
}

test.each(refused)("%s in the place of a token is refused, and stores nothing", async (_, authorization) => {
  const before = await target.stored();
  const { created, recorded } = await target.write(authorization());
  expectUnauthenticated(created, authorization());
  expectUnauthenticated(recorded, authorization());
  expect(await target.stored()).toEqual(before);
});

test.each(forged)("a token %s is refused, and stores nothing", async (_, token) => {
  const before = await target.stored();
  const asked = attackersKeys.asked();
  const authorization = `Bearer ${token()}`;
  const { created, recorded } = await target.write(authorization);
  expectUnauthenticated(created, authorization);
  expectUnauthenticated(recorded, authorization);
  expect(await target.stored()).toEqual(before);
  expect(attackersKeys.asked(), "nobody asks a key server that a token names").toBe(asked);
});
