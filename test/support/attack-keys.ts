/** Tokens made by hand: any header, any claims, any signature. */
import {
  createHmac,
  generateKeyPairSync,
  randomUUID,
  sign as signWith,
  type JsonWebKey,
  type KeyObject,
} from "node:crypto";

export type Algorithm = "EdDSA" | "ES256" | "RS256";

export interface AttackKey {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly publicKey: KeyObject;
  /** The public half, as a key set has it. */
  readonly jwk: JsonWebKey;
  sign(bytes: Buffer): Buffer;
}

export function createKey(alg: Algorithm = "EdDSA", kid: string = randomUUID()): AttackKey {
  const { publicKey, privateKey } = generate(alg);
  return {
    kid,
    alg,
    publicKey,
    jwk: { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" },
    sign: (bytes) =>
      alg === "EdDSA"
        ? signWith(null, bytes, privateKey)
        : signWith("sha256", bytes, { key: privateKey, dsaEncoding: "ieee-p1363" }),
  };
}

function generate(alg: Algorithm) {
  switch (alg) {
    case "EdDSA":
      return generateKeyPairSync("ed25519");
    case "ES256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    case "RS256":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    default:
      return alg satisfies never;
  }
}

/** An object, or JSON text that no object gives, such as one with a name twice. */
export type Part = object | string;

/** Header and claims as they are, under whatever `sign` makes of them. */
export function compose(header: Part, claims: Part, sign: (bytes: Buffer) => Buffer): string {
  const [head, body] = [header, claims].map((part) =>
    Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url"),
  );
  return `${head}.${body}.${sign(Buffer.from(`${head}.${body}`)).toString("base64url")}`;
}

/** A token as the key's holder makes it, but for what `header` says otherwise. */
export function tokenBy(key: AttackKey, claims: Part, header: object = {}): string {
  return compose({ alg: key.alg, kid: key.kid, typ: "JWT", ...header }, claims, key.sign);
}

export function hmac(secret: string | Buffer): (bytes: Buffer) => Buffer {
  return (bytes) => createHmac("sha256", secret).update(bytes).digest();
}
