import { createPrivateKey, createSecretKey, generateKeyPairSync, hash, type KeyObject } from "node:crypto";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { encodeBase64 } from "./base64.ts";
import { exampleNote, goNotes } from "./published-vectors.ts";
import {
  createNoteSigner,
  NoteError,
  noteBytesMax,
  openNote,
  readVerifierKey,
  signaturesMax,
  signNote,
} from "./signed-note.ts";

const newKey = () => generateKeyPairSync("ed25519").privateKey;

/** RFC 8410's frame around the 32 bytes of an Ed25519 private key. */
function keyFromSeed(seed: Uint8Array): KeyObject {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

/** Opens it, or says why not. */
function tryToOpen(note: string, vkeys: readonly string[]) {
  try {
    return openNote(note, vkeys.map(readVerifierKey));
  } catch (error) {
    if (error instanceof NoteError) return error.why;
    throw error;
  }
}

const signer = createNoteSigner("log.example/a", newKey());
const other = createNoteSigner("log.example/b", newKey());
const text = "first\n\nsecond\n";

describe("published notes", () => {
  test("each opens with its key, and none with the other's", () => {
    const { vkey } = goNotes.peter;
    expect(tryToOpen(exampleNote.note, [exampleNote.vkey])).toEqual({
      text: exampleNote.text,
      verifiedBy: [exampleNote.vkey],
    });
    expect(tryToOpen(goNotes.byPeter, [vkey])).toEqual({ text: goNotes.text, verifiedBy: [vkey] });
    expect(tryToOpen(goNotes.byPeter, [exampleNote.vkey])).toBe("unsigned");
  });

  test("the one whose seed is published is signed to the same bytes, under the same key", () => {
    const peter = createNoteSigner(goNotes.peter.name, keyFromSeed(goNotes.peter.seed));
    expect(peter.vkey).toBe(goNotes.peter.vkey);
    expect(signNote(goNotes.text, [peter])).toBe(goNotes.byPeter);
  });

  test("with two signatures, those of known keys count, in the note's order", () => {
    const note = goNotes.byPeter + goNotes.enochLine;
    const [peter, enoch] = [goNotes.peter.vkey, goNotes.enoch.vkey];
    expect(tryToOpen(note, [enoch, peter])).toEqual({ text: goNotes.text, verifiedBy: [peter, enoch] });
    expect(tryToOpen(note, [enoch])).toEqual({ text: goNotes.text, verifiedBy: [enoch] });
    expect(tryToOpen(note, [])).toBe("unsigned");
  });

  test("a single bit flipped anywhere in text, name or signature is refused", () => {
    for (const { note, vkey } of [exampleNote, { note: goNotes.byPeter, vkey: goNotes.peter.vkey }]) {
      const bytes = Buffer.from(note);
      for (let bit = 0; bit < bytes.length * 8; bit += 1) {
        const flipped = Uint8Array.from(bytes);
        flipped[Math.floor(bit / 8)]! ^= 1 << (bit % 8);
        const read = decode(flipped);
        if (read !== undefined)
          expect(["malformed", "unsigned", "signature"]).toContain(tryToOpen(read, [vkey]));
      }
    }
  });
});

/** As the page of `signed-note.ts` says; `undefined` for bytes that are no UTF-8. */
function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

describe("opening", () => {
  test("what was signed opens with the same text, whatever lines of Unicode it is", () => {
    const line = fc.string({ unit: "binary" }).filter((one) => one.split("").every((unit) => unit >= " "));
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const written = `${lines.join("\n")}\n`;
        const note = signNote(written, [signer, other]);
        const verifiedBy = [signer.vkey, other.vkey];
        expect(tryToOpen(note, [other.vkey, signer.vkey])).toEqual({ text: written, verifiedBy });
      }),
    );
  });

  test("signatures of unknown keys are passed over, though name or key ID is a known one's", () => {
    const sameName = createNoteSigner(signer.name, newKey());
    const note = signNote(text, [sameName, signer, other]);
    expect(tryToOpen(note, [signer.vkey])).toEqual({ text, verifiedBy: [signer.vkey] });
    const sameId = `— log.example/c ${encodeBase64(Buffer.concat([signer.keyId, Buffer.alloc(64)]))}\n`;
    expect(tryToOpen(note + sameId, [signer.vkey])).toEqual({ text, verifiedBy: [signer.vkey] });
    expect(tryToOpen(signNote(text, [sameName]) + sameId, [signer.vkey])).toBe("unsigned");
  });

  test("a signature of another type and length by an unknown key is passed over", () => {
    const cosigned = `— witness.example ${encodeBase64(Buffer.alloc(4 + 5_000, 7))}\n`;
    const note = signNote(text, [signer]) + cosigned + `— w ${encodeBase64(Buffer.alloc(5))}\n`;
    expect(tryToOpen(note, [signer.vkey])).toEqual({ text, verifiedBy: [signer.vkey] });
  });

  test("one signature of a known key that does not hold makes the whole note worthless, wherever it stands", () => {
    const wrong = lineOf(other, other.sign("another text\n"));
    const good = signNote(text, [signer]);
    const [body, line] = [good.slice(0, text.length + 1), good.slice(text.length + 1)];
    for (const note of [body + wrong + line, body + line + wrong, body + wrong])
      expect(tryToOpen(note, [signer.vkey, other.vkey])).toBe("signature");
    expect(tryToOpen(body + wrong + line, [signer.vkey])).toEqual({ text, verifiedBy: [signer.vkey] });
  });

  test("a repeated signature counts once, and is checked like the first", () => {
    const note = signNote(text, [signer]);
    const again = lineOf(signer, signer.sign(text));
    const wrong = lineOf(signer, signer.sign("another text\n"));
    expect(tryToOpen(note + again, [signer.vkey])).toEqual({ text, verifiedBy: [signer.vkey] });
    expect(tryToOpen(note + wrong, [signer.vkey])).toBe("signature");
  });

  test.each([0, 1, 63, 65, 128])(
    "a known key's signature of %i bytes is refused and does not throw",
    (length) => {
      const bytes = Buffer.concat([signer.sign(text), Buffer.alloc(64)]).subarray(0, length);
      const why = length === 0 ? "malformed" : "signature";
      expect(tryToOpen(`${text}\n${lineOf(signer, bytes)}`, [signer.vkey])).toBe(why);
    },
  );

  test("of two keys that share name and key ID either may have signed", () => {
    const verifier = readVerifierKey(signer.vkey);
    const collider = { ...readVerifierKey(other.vkey), name: verifier.name, keyId: verifier.keyId };
    const note = signNote(text, [signer]);
    expect(openNote(note, [collider, verifier]).verifiedBy).toEqual([signer.vkey]);
    expect(() => openNote(note, [collider])).toThrow(NoteError);
  });

  const good = signNote("text\n", [signer]);
  const [, , line = ""] = good.split("\n");
  const encoded = line.split(" ")[2] ?? "";

  test.each([
    ["nothing", ""],
    ["a newline", "\n"],
    ["a text alone", "text\n"],
    ["a text and no signature", "text\n\n"],
    ["no empty line before the signatures", `text\n${line}\n`],
    ["no text", `\n${line}\n`],
    ["no newline at the end", `text\n\n${line}`],
    ["an empty line at the end", `text\n\n${line}\n\n`],
    ["an empty line between signatures", `text\n\n${line}\n\n${line}`],
    ["a carriage return", `text\r\n\n${line}\n`],
    ["a carriage return behind the signature", `text\n\n${line}\r\n`],
    ["a tab in the text", `te\txt\n\n${line}\n`],
    ["a zero byte in the text", `te\0xt\n\n${line}\n`],
    ["half a surrogate pair in the text", `te\ud800xt\n\n${line}\n`],
    ["half a surrogate pair in a name", `text\n\n— log\udc00 ${encoded}\n`],
    ["a hyphen for the dash", `text\n\n${line.replace("—", "-")}\n`],
    ["no space behind the dash", `text\n\n${line.replace("— ", "—")}\n`],
    ["two spaces behind the dash", `text\n\n${line.replace("— ", "—  ")}\n`],
    ["a space before the dash", `text\n\n ${line}\n`],
    ["two spaces behind the name", `text\n\n${line.replace("/a ", "/a  ")}\n`],
    ["a space at the end", `text\n\n${line} \n`],
    ["more behind the signature", `text\n\n${line} more\n`],
    ["no name", `text\n\n—  ${encoded}\n`],
    ["a name with a plus", `text\n\n— log+a ${encoded}\n`],
    ["a name with a no-break space", `text\n\n— log\u00a0a ${encoded}\n`],
    ["a name with a line separator", `text\n\n— log\u2028a ${encoded}\n`],
    ["no signature", `text\n\n— ${signer.name}\n`],
    ["an empty signature", `text\n\n— ${signer.name} \n`],
    ["a signature that is no base64", `text\n\n— ${signer.name} !!!!\n`],
    ["a signature in URL base64", `text\n\n— ${signer.name} ____\n`],
    [
      "a signature without its padding",
      `text\n\n— ${signer.name} ${encodeBase64(Buffer.alloc(68)).replace("=", "")}\n`,
    ],
    ["a signature of a key ID alone", `text\n\n— ${signer.name} ${encodeBase64(signer.keyId)}\n`],
    ["a malformed line behind a good one", `${good}— x\n`],
  ])("a note of %s is malformed", (_, note) => {
    expect(tryToOpen(note, [signer.vkey])).toBe("malformed");
  });

  test("a signature whose last base64 digit has spare bits set is malformed, not another spelling of it", () => {
    const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const spare = encoded.replace(/(.)=$/, (_, last: string) => `${digits[digits.indexOf(last) + 1]}=`);
    expect(Buffer.from(spare, "base64")).toEqual(Buffer.from(encoded, "base64"));
    expect(tryToOpen(`text\n\n— ${signer.name} ${encoded}\n`, [signer.vkey])).toMatchObject({
      text: "text\n",
    });
    expect(tryToOpen(`text\n\n— ${signer.name} ${spare}\n`, [signer.vkey])).toBe("malformed");
  });

  test("a hundred signatures are read, and one more is malformed", () => {
    const lines = (count: number) => lineOf(signer, signer.sign(text)).repeat(count);
    expect(tryToOpen(`${text}\n${lines(signaturesMax)}`, [signer.vkey])).toMatchObject({ text });
    expect(tryToOpen(`${text}\n${lines(signaturesMax + 1)}`, [signer.vkey])).toBe("malformed");
  });

  test("the largest note opens, and with one byte more it is neither signed nor read", () => {
    const room = noteBytesMax - Buffer.byteLength(signNote("\n", [signer]));
    const largest = signNote(`${"x".repeat(room)}\n`, [signer]);
    expect(Buffer.byteLength(largest)).toBe(noteBytesMax);
    expect(tryToOpen(largest, [signer.vkey])).toMatchObject({ verifiedBy: [signer.vkey] });
    expect(tryToOpen(`x${largest}`, [signer.vkey])).toBe("malformed");
    expect(() => signNote(`${"x".repeat(room + 1)}\n`, [signer])).toThrow(RangeError);
    const wide = `${"é".repeat(Math.ceil((room + 1) / 2))}\n`; // The limit is one of bytes.
    expect(() => signNote(wide, [signer])).toThrow(RangeError);
  });

  test("whatever text comes in, only a NoteError comes out", () => {
    const piece = fc.constantFrom("\n", "\n\n", "— ", " ", line, encoded, "+", "text", "\r", "\ud800", "=");
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string({ unit: "binary" })), { maxLength: 12 }), (pieces) => {
        expect(tryToOpen(pieces.join(""), [other.vkey])).toBeTypeOf("string");
      }),
      { numRuns: 500 },
    );
  });
});

describe("signing", () => {
  test.each([
    ["without a newline at its end", "text"],
    ["of nothing", ""],
    ["with a tab", "a\tb\n"],
    ["with a carriage return", "a\r\n"],
    ["with half a surrogate pair", "a\ud800\n"],
  ])("a text %s throws a RangeError", (_, wrong) => {
    expect(() => signNote(wrong, [signer])).toThrow(RangeError);
  });

  test("no signer, and more than a hundred, throw a RangeError", () => {
    expect(() => signNote(text, [])).toThrow(RangeError);
    const many = Array.from({ length: signaturesMax + 1 }, () => signer);
    expect(() => signNote(text, many)).toThrow(RangeError);
  });

  test.each(["", "a b", "a+b", "a\u00a0b", "a\u3000b", "a\nb", "a\tb", "a\u0001", "\ud800"])(
    "a key named %j throws a RangeError",
    (name) => {
      expect(() => createNoteSigner(name, newKey())).toThrow(RangeError);
    },
  );

  test("a key that is public, or not Ed25519, throws a TypeError", () => {
    const { publicKey } = generateKeyPairSync("ed25519");
    const { privateKey: ed448 } = generateKeyPairSync("ed448");
    const { privateKey: x25519 } = generateKeyPairSync("x25519");
    for (const key of [publicKey, createSecretKey(Buffer.alloc(32)), ed448, x25519]) {
      expect(() => createNoteSigner("a", key)).toThrow(TypeError);
      expect(() => createNoteSigner("a", key)).toThrow("private Ed25519 key");
    }
  });
});

describe("verifier keys", () => {
  test("the key that a signer tells is read back, with its name and key ID", () => {
    expect(readVerifierKey(signer.vkey)).toMatchObject({
      name: signer.name,
      keyId: signer.keyId,
      vkey: signer.vkey,
    });
    expect(Buffer.from(signer.keyId).toString("hex")).toBe(signer.vkey.split("+")[1]);
  });

  test("one key under two names has two key IDs", () => {
    const key = newKey();
    expect(createNoteSigner("a", key).keyId).not.toEqual(createNoteSigner("b", key).keyId);
  });

  const { vkey } = exampleNote;
  const typeAndKey = Buffer.from(vkey.split("+")[2] ?? "", "base64");
  test.each([
    ["of nothing", "", /name\+keyid\+key/],
    ["of a name alone", "example.com/foo", /name\+keyid\+key/],
    ["without a key", "example.com/foo+530d903a", /name\+keyid\+key/],
    ["without a name", vkey.replace("example.com/foo", ""), /name/],
    ["with a space in its name", vkey.replace("/", " "), /name/],
    ["with another name", vkey.replace("foo", "bar"), /ID 530d903a/],
    ["with another ID", vkey.replace("530d903a", "530d903b"), /ID 530d903b/],
    ["with an ID in capitals", vkey.replace("530d903a", "530D903A"), /hex/],
    ["with a short ID", vkey.replace("530d903a", "530d903"), /hex/],
    ["that is no base64", vkey.replace("Aeky", "A!ky"), /base64/],
    ["with an empty last part", "example.com/foo+530d903a+", /type/],
    ["with a newline behind it", `${vkey}\n`, /base64/],
    ["of a cosigner's type", vkeyOf(Buffer.concat([Uint8Array.of(4), typeAndKey.subarray(1)])), /type 4/],
    ["of 31 bytes", vkeyOf(typeAndKey.subarray(0, 32)), /31 bytes/],
    ["of 33 bytes", vkeyOf(Buffer.concat([typeAndKey, Uint8Array.of(0)])), /33 bytes/],
  ])("a key %s throws a SyntaxError that says so", (_, wrong, says) => {
    expect(() => readVerifierKey(wrong)).toThrow(SyntaxError);
    expect(() => readVerifierKey(wrong)).toThrow(says);
  });

  test("a single bit flipped anywhere in a key is refused", () => {
    const bytes = Buffer.from(vkey);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Uint8Array.from(bytes);
      flipped[Math.floor(bit / 8)]! ^= 1 << (bit % 8);
      expect(() => readVerifierKey(Buffer.from(flipped).toString("latin1"))).toThrow(SyntaxError);
    }
  });

  test("bytes that are no point of the curve make a key that verifies nothing", () => {
    const noPoint = Buffer.concat([Uint8Array.of(1), Buffer.alloc(32, 0xff)]);
    const id = hash("sha256", Buffer.concat([Buffer.from("a\n"), noPoint])).slice(0, 8);
    const verifier = readVerifierKey(`a+${id}+${encodeBase64(noPoint)}`);
    expect(verifier.verify(text, new Uint8Array(64))).toBe(false);
  });

  function vkeyOf(bytes: Uint8Array): string {
    return `example.com/foo+${"0".repeat(8)}+${encodeBase64(bytes)}`;
  }
});

function lineOf({ name, keyId }: { name: string; keyId: Uint8Array }, signature: Uint8Array): string {
  return `— ${name} ${encodeBase64(Buffer.concat([keyId, signature]))}\n`;
}
