/**
 * Text signed by one or more keys: C2SP signed-note, with Ed25519 signatures (type 0x01) and no other. Keys are written as in
 * golang.org/x/mod/sumdb/note: `name+keyid+base64(type ‖ key)`, called vkey.
 *
 * Notes are strings here. Whoever reads one from bytes decodes them with
 * `new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })`, lest another text be judged than the one signed.
 */
import { createPublicKey, hash, type KeyObject, sign, verify } from "node:crypto";

import { decodeBase64, encodeBase64 } from "./base64.ts";

/** UTF-8 bytes of a note, signatures included. */
export const noteBytesMax = 1_000_000;
/** Signatures of a note; the specification asks for 16 at least. */
export const signaturesMax = 100;

const ed25519 = 0x01;
const keyIdBytes = 4;
const publicKeyBytes = 32;

export interface NoteSigner {
  readonly name: string;
  /** First 4 bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key). */
  readonly keyId: Uint8Array;
  /** What verifiers need of this key. */
  readonly vkey: string;
  /** The 64 bytes of the signature alone, as RFC 8032 says. */
  sign(text: string): Uint8Array;
}

export interface NoteVerifier {
  readonly name: string;
  readonly keyId: Uint8Array;
  readonly vkey: string;
  /** Whether these 64 bytes are the key's signature of `text`; any other length is not. */
  verify(text: string, signature: Uint8Array): boolean;
}

/** A note that is not to be believed; nothing of its text was given out. */
export class NoteError extends Error {
  override readonly name = "NoteError";
  /**
   * `malformed`: no signed note at all. `unsigned`: none of the known keys signed it. `signature`: it says that a known key
   * signed it, and that does not hold.
   */
  readonly why: "malformed" | "unsigned" | "signature";

  constructor(why: NoteError["why"], message: string) {
    super(message);
    this.why = why;
  }
}

/**
 * A signer under this key name, which is best the URL of what signs, without its scheme. Throws a RangeError on a name that is
 * empty or has a space, a plus or a control character, and a TypeError unless the key is a private Ed25519 key.
 */
export function createNoteSigner(name: string, privateKey: KeyObject): NoteSigner {
  if (!isKeyName(name)) throw new RangeError(`not the name of a key: ${JSON.stringify(name)}`);
  if (privateKey.type !== "private" || privateKey.asymmetricKeyType !== "ed25519")
    throw new TypeError("a note is signed with a private Ed25519 key");
  const { x = "" } = createPublicKey(privateKey).export({ format: "jwk" });
  const typeAndKey = Uint8Array.of(ed25519, ...Buffer.from(x, "base64url"));
  const keyId = keyIdOf(name, typeAndKey);
  return {
    name,
    keyId,
    vkey: `${name}+${toHex(keyId)}+${encodeBase64(typeAndKey)}`,
    sign: (text) => new Uint8Array(sign(null, Buffer.from(text), privateKey)),
  };
}

/** Reads a verifier's key; throws a SyntaxError that says what is wrong with it. */
export function readVerifierKey(vkey: string): NoteVerifier {
  const parts = /^([^+]*)\+([^+]*)\+(.*)$/s.exec(vkey); // Base64 may have a plus, a name may not.
  if (!parts) throw new SyntaxError("a verifier key is name+keyid+key");
  const [, name = "", id = "", encoded = ""] = parts;
  if (!isKeyName(name)) throw new SyntaxError(`a verifier key's name is ${JSON.stringify(name)}`);
  if (!/^[0-9a-f]{8}$/.test(id)) throw new SyntaxError("a verifier key's ID is not 8 lower-case hex digits");
  const typeAndKey = decodeBase64(encoded);
  if (!typeAndKey) throw new SyntaxError("a verifier key's last part is not base64");
  if (typeAndKey[0] !== ed25519)
    throw new SyntaxError(`a verifier key of type ${typeAndKey[0]}, not Ed25519 (1)`);
  if (typeAndKey.length !== 1 + publicKeyBytes)
    throw new SyntaxError(`an Ed25519 key of ${typeAndKey.length - 1} bytes`);
  const keyId = keyIdOf(name, typeAndKey);
  if (toHex(keyId) !== id)
    throw new SyntaxError(`a verifier key has ID ${id}, and its key has ${toHex(keyId)}`);
  const x = Buffer.from(typeAndKey.subarray(1)).toString("base64url");
  const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  return {
    name,
    keyId,
    vkey,
    verify: (text, signature) => verify(null, Buffer.from(text), publicKey, signature),
  };
}

/**
 * The note over `text` with a signature of each signer, in their order. Throws a RangeError on a text that no note can have (not
 * ending in a newline, with other control characters, or no valid Unicode), on no signer, and beyond the limits.
 */
export function signNote(text: string, signers: readonly NoteSigner[]): string {
  if (!text.endsWith("\n") || !isNoteText(text)) throw new RangeError("a note's text is lines of Unicode");
  if (signers.length === 0 || signers.length > signaturesMax)
    throw new RangeError(`a note has 1 to ${signaturesMax} signatures, not ${signers.length}`);
  const lines = signers.map((signer) => {
    const signature = Buffer.concat([signer.keyId, signer.sign(text)]);
    return `— ${signer.name} ${encodeBase64(signature)}\n`;
  });
  const note = `${text}\n${lines.join("")}`;
  if (Buffer.byteLength(note) > noteBytesMax)
    throw new RangeError(`a note has at most ${noteBytesMax} bytes`);
  return note;
}

/**
 * The text of a note that at least one of `verifiers` signed, and the vkeys of those that did, in the note's order and each once.
 * Signatures of other keys are passed over. Every signature that claims a known key is checked, repeated ones too, and a single
 * one that does not hold makes the note worthless. Throws a NoteError; its `why` says which of the three it was.
 */
export function openNote(
  note: string,
  verifiers: readonly NoteVerifier[],
): { readonly text: string; readonly verifiedBy: readonly string[] } {
  const { text, signatures } = parseNote(note);
  const verifiedBy = new Set<string>();
  for (const { name, keyId, signature } of signatures) {
    const known = verifiers.filter((key) => key.name === name && toHex(key.keyId) === toHex(keyId));
    const holding = known.filter((key) => key.verify(text, signature));
    if (known.length > 0 && holding.length === 0)
      throw new NoteError("signature", `the signature of ${name}+${toHex(keyId)} does not hold`);
    for (const { vkey } of holding) verifiedBy.add(vkey);
  }
  if (verifiedBy.size === 0) throw new NoteError("unsigned", "no known key signed the note");
  return { text, verifiedBy: [...verifiedBy] };
}

/** Whether a note, or one of its lines, may read so: valid Unicode, and of control characters only the newline. */
export function isNoteText(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit < 0x20 && unit !== 0x0a) return false;
  }
  return text.isWellFormed();
}

interface NoteSignature {
  readonly name: string;
  readonly keyId: Uint8Array;
  readonly signature: Uint8Array;
}

/** Takes a note apart, believing nothing of it. */
function parseNote(note: string): { text: string; signatures: NoteSignature[] } {
  if (Buffer.byteLength(note) > noteBytesMax) throw malformed(`it has more than ${noteBytesMax} bytes`);
  if (!isNoteText(note)) throw malformed("it has control characters or is no valid Unicode");
  const textEnd = note.lastIndexOf("\n\n") + 1;
  if (textEnd === 0) throw malformed("no empty line ends its text");
  const block = note.slice(textEnd + 1);
  if (!block.endsWith("\n")) throw malformed("it does not end in a signature line");
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > signaturesMax) throw malformed(`it has more than ${signaturesMax} signatures`);
  return { text: note.slice(0, textEnd), signatures: lines.map(readSignatureLine) };
}

function readSignatureLine(line: string): NoteSignature {
  const [dash, name = "", encoded = "", ...more] = line.split(" ");
  const bytes = decodeBase64(encoded);
  if (dash !== "—" || !isKeyName(name) || !bytes || bytes.length <= keyIdBytes || more.length > 0)
    throw malformed("a signature line is not: dash, key name, base64 of key ID and signature");
  return { name, keyId: bytes.subarray(0, keyIdBytes), signature: bytes.subarray(keyIdBytes) };
}

const malformed = (what: string) => new NoteError("malformed", `not a signed note: ${what}`);

function isKeyName(name: string): boolean {
  return /^[^\p{White_Space}+]+$/u.test(name) && isNoteText(name);
}

function keyIdOf(name: string, typeAndKey: Uint8Array): Uint8Array {
  const digest = hash("sha256", Buffer.concat([Buffer.from(`${name}\n`), typeAndKey]), "buffer");
  return new Uint8Array(digest.subarray(0, keyIdBytes));
}

const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
