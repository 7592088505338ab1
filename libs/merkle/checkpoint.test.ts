import fc from "fast-check";
import { expect, test } from "vitest";

import { type Checkpoint, formatCheckpoint, readCheckpoint } from "./checkpoint.ts";
import { exampleCheckpoint } from "./published-vectors.ts";

const { text, ...example } = exampleCheckpoint;

test("the specification's example is read, and written to the same text", () => {
  expect(readCheckpoint(text)).toEqual(example);
  expect(formatCheckpoint(example)).toBe(text);
});

test("what was written is read back, for any origin, size and root", () => {
  const checkpoint = fc.record({
    origin: fc
      .string({ unit: "binary", minLength: 1 })
      .filter((one) => one.split("").every((unit) => unit >= " ")),
    size: fc.maxSafeNat(),
    root: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  });
  fc.assert(
    fc.property(checkpoint, (given) => {
      expect(readCheckpoint(formatCheckpoint(given))).toEqual(given);
    }),
  );
});

test("extension lines are passed over", () => {
  expect(readCheckpoint(`${text}extension\n— another\n 3\n`)).toEqual(example);
});

test("size 0 is a size, and so is 2^53 - 1", () => {
  expect(readCheckpoint(text.replace("20852163", "0"))).toEqual({ ...example, size: 0 });
  const size = Number.MAX_SAFE_INTEGER;
  expect(readCheckpoint(text.replace("20852163", `${size}`))).toEqual({ ...example, size });
});

const [origin = "", size = "", root = ""] = text.split("\n");

test.each([
  ["nothing", ""],
  ["a newline", "\n"],
  ["no newline at its end", text.slice(0, -1)],
  ["no newline behind its extension", `${text}extension`],
  ["two lines", `${origin}\n${size}\n`],
  ["an empty origin", `\n${size}\n${root}\n`],
  ["an empty size", `${origin}\n\n${root}\n`],
  ["an empty root", `${origin}\n${size}\n\n`],
  ["an empty line at its end", `${text}\n`],
  ["an empty line among the extensions", `${text}one\n\ntwo\n`],
  ["a size with a leading zero", text.replace(size, `0${size}`)],
  ["a size of 00", text.replace(size, "00")],
  ["a negative size", text.replace(size, "-1")],
  ["a size with a sign", text.replace(size, `+${size}`)],
  ["a size with a space", text.replace(size, ` ${size}`)],
  ["a size in hex", text.replace(size, "0x10")],
  ["a size with an exponent", text.replace(size, "1e3")],
  ["a size with a fraction", text.replace(size, "1.0")],
  ["a size in other digits", text.replace(size, "٣")],
  ["a size of 2^53", text.replace(size, "9007199254740992")],
  ["a size of 2^64", text.replace(size, "18446744073709551616")],
  ["a root of 31 bytes", text.replace(root, Buffer.alloc(31).toString("base64"))],
  ["a root of 33 bytes", text.replace(root, Buffer.alloc(33).toString("base64"))],
  ["a root without its padding", text.replace("=", "")],
  ["a root with spare bits", text.replace("q2I=", "q2J=")],
  ["a root in URL base64", text.replace("/", "_").replace("om/", "om_")],
  ["a root behind a space", text.replace(root, ` ${root}`)],
  ["a carriage return", text.replaceAll("\n", "\r\n")],
  ["a tab in the origin", `\t${text}`],
  ["half a surrogate pair in the origin", `\ud800${text}`],
])("a text of %s is no checkpoint: it throws a SyntaxError", (_, wrong) => {
  expect(() => readCheckpoint(wrong)).toThrow(SyntaxError);
});

test.each<[string, Partial<Checkpoint>]>([
  ["an empty origin", { origin: "" }],
  ["an origin of two lines", { origin: "a\nb" }],
  ["an origin with a tab", { origin: "a\tb" }],
  ["an origin with half a surrogate pair", { origin: "\ud800" }],
  ["a negative size", { size: -1 }],
  ["half a leaf", { size: 0.5 }],
  ["a size beyond 2^53 - 1", { size: 2 ** 53 }],
  ["a root of 31 bytes", { root: new Uint8Array(31) }],
])("a checkpoint with %s is not written: it throws a RangeError", (_, wrong) => {
  expect(() => formatCheckpoint({ ...example, ...wrong })).toThrow(RangeError);
});
