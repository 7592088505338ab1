import fc from "fast-check";
import { expect, test } from "vitest";

import { decodeEntryBundle, encodeEntryBundle, entryBytesMax } from "./entry-bundle.ts";

const entries = fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 256 });

test("a bundle is each entry behind its length, the higher byte first", () => {
  const long = new Uint8Array(258).fill(7);
  const bytes = encodeEntryBundle([Uint8Array.of(1, 2, 3), new Uint8Array(), long]);
  expect(Array.from(bytes)).toEqual([0, 3, 1, 2, 3, 0, 0, 1, 2, ...long]);
});

test("what was encoded is decoded, also from the middle of a larger buffer", () => {
  fc.assert(
    fc.property(entries, fc.nat({ max: 9 }), (given, offset) => {
      const bytes = encodeEntryBundle(given);
      const buffer = new Uint8Array(offset + bytes.length + 5).fill(0xff);
      buffer.set(bytes, offset);
      expect(decodeEntryBundle(buffer.subarray(offset, offset + bytes.length))).toEqual(given);
    }),
  );
});

test("whatever is decoded is encoded to the same bytes: a bundle has one form", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      let decoded: Uint8Array[];
      try {
        decoded = decodeEntryBundle(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(SyntaxError);
        return;
      }
      expect(encodeEntryBundle(decoded)).toEqual(bytes);
    }),
    { numRuns: 2_000 },
  );
});

test("the largest entry and the fullest bundle go in, and one byte or one entry more throws a RangeError", () => {
  const largest = new Uint8Array(entryBytesMax).fill(1);
  expect(decodeEntryBundle(encodeEntryBundle([largest]))).toEqual([largest]);
  expect(() => encodeEntryBundle([new Uint8Array(entryBytesMax + 1)])).toThrow(RangeError);
  const fullest = Array.from({ length: 256 }, (_, n) => Uint8Array.of(n));
  expect(decodeEntryBundle(encodeEntryBundle(fullest))).toEqual(fullest);
  expect(() => encodeEntryBundle([...fullest, new Uint8Array()])).toThrow(RangeError);
  expect(() => encodeEntryBundle([])).toThrow(RangeError);
});

test("a bundle that is cut anywhere but between two entries throws a SyntaxError", () => {
  const bytes = encodeEntryBundle([Uint8Array.of(1, 2, 3), Uint8Array.of(4), Uint8Array.of(5, 6)]);
  const between = [5, 8, 12];
  for (let end = 0; end <= bytes.length; end += 1) {
    const decode = () => decodeEntryBundle(bytes.subarray(0, end));
    if (between.includes(end)) expect(decode()).toHaveLength(between.indexOf(end) + 1);
    else expect(decode).toThrow(SyntaxError);
  }
});

test("a bundle of more than 256 entries throws a SyntaxError", () => {
  expect(decodeEntryBundle(new Uint8Array(2 * 256))).toHaveLength(256);
  expect(() => decodeEntryBundle(new Uint8Array(2 * 257))).toThrow(SyntaxError);
});
