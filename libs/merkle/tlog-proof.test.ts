import fc from "fast-check";
import { expect, test } from "vitest";

import { formatTlogProof, readTlogProof, type TlogProof, tlogProofBytesMax } from "./tlog-proof.ts";

const [one, two] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
const [oneText, twoText] = [Buffer.from(one).toString("base64"), Buffer.from(two).toString("base64")];
const checkpoint = "log.example\n7\nroot\n\n— log.example signature\n";

test("a proof is its first line, extra data, index, hashes, an empty line and the checkpoint as it is", () => {
  const proof = { index: 5, hashes: [one, two], checkpoint, extra: Buffer.from("more") };
  const lines = ["c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 5", oneText, twoText, "", checkpoint];
  expect(formatTlogProof(proof)).toBe(lines.join("\n"));
  expect(readTlogProof(lines.join("\n"))).toEqual({ ...proof, extra: Uint8Array.from(proof.extra) });
});

test("without extra data and without hashes both lines are left out", () => {
  const text = `c2sp.org/tlog-proof@v1\nindex 0\n\n${checkpoint}`;
  expect(formatTlogProof({ index: 0, hashes: [], checkpoint })).toBe(text);
  expect(readTlogProof(text)).toStrictEqual({ index: 0, hashes: [], checkpoint });
});

test("what was written is read back", () => {
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const proofs = fc.record(
    {
      index: fc.maxSafeNat(),
      hashes: fc.array(hash, { maxLength: 53 }),
      checkpoint: fc.string({ minLength: 1 }),
      extra: fc.uint8Array({ minLength: 1 }),
    },
    { requiredKeys: ["index", "hashes", "checkpoint"], noNullPrototype: true },
  );
  fc.assert(
    fc.property(proofs, (proof) => {
      expect(readTlogProof(formatTlogProof(proof))).toStrictEqual(proof);
    }),
  );
});

const good = `c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 5\n${oneText}\n\n${checkpoint}`;

test.each([
  ["nothing", ""],
  ["a first line alone", "c2sp.org/tlog-proof@v1\n"],
  ["another version", good.replace("@v1", "@v2")],
  ["something before the first line", `\n${good}`],
  ["a space behind the first line", good.replace("@v1", "@v1 ")],
  ["carriage returns", good.replaceAll("\n", "\r\n")],
  ["no index", good.replace("index 5\n", "")],
  ["an index before the extra data", good.replace("extra bW9yZQ==\nindex 5", "index 5\nextra bW9yZQ==")],
  ["extra data twice", good.replace("index", "extra bW9yZQ==\nindex")],
  ["empty extra data", good.replace("bW9yZQ==", "")],
  ["extra data without its space", good.replace(" bW9yZQ==", "")],
  ["extra data that is no base64", good.replace("bW9yZQ==", "????")],
  ["extra data without its padding", good.replace("bW9yZQ==", "bW9yZQ")],
  ["extra data with spare bits", good.replace("bW9yZQ==", "bW9yZR==")],
  ["an index with a leading zero", good.replace("index 5", "index 05")],
  ["a negative index", good.replace("index 5", "index -5")],
  ["an index with two spaces", good.replace("index 5", "index  5")],
  ["an empty index", good.replace("index 5", "index ")],
  ["an index with something behind it", good.replace("index 5", "index 5 ")],
  ["an index of 2^53", good.replace("index 5", "index 9007199254740992")],
  ["the index twice", good.replace("index 5", "index 5\nindex 5")],
  ["a hash of 31 bytes", good.replace(oneText, Buffer.alloc(31).toString("base64"))],
  ["a hash of 33 bytes", good.replace(oneText, Buffer.alloc(33).toString("base64"))],
  ["a hash in hex", good.replace(oneText, Buffer.from(one).toString("hex"))],
  ["a hash behind a space", good.replace(oneText, ` ${oneText}`)],
  ["two hashes on a line", good.replace(oneText, `${oneText} ${oneText}`)],
  ["a hash without its padding", good.replace(oneText, oneText.replace("=", ""))],
  ["54 hashes", good.replace(oneText, Array.from({ length: 54 }, () => oneText).join("\n"))],
  ["no empty line", good.replaceAll("\n\n", "\n")],
  ["no checkpoint", good.slice(0, good.indexOf("\n\n") + 2)],
])("a text of %s is no proof: it throws a SyntaxError", (_, wrong) => {
  expect(() => readTlogProof(good)).not.toThrow();
  expect(() => readTlogProof(wrong)).toThrow(SyntaxError);
});

test.each<[string, Partial<TlogProof>]>([
  ["a negative index", { index: -1 }],
  ["half an index", { index: 0.5 }],
  ["an index beyond 2^53 - 1", { index: 2 ** 53 }],
  ["a short hash", { hashes: [one.subarray(1)] }],
  ["54 hashes", { hashes: Array.from({ length: 54 }, () => one) }],
  ["empty extra data", { extra: new Uint8Array() }],
  ["no checkpoint", { checkpoint: "" }],
])("a proof with %s is not written: it throws a RangeError", (_, wrong) => {
  expect(() => formatTlogProof({ index: 5, hashes: [one], checkpoint, ...wrong })).toThrow(RangeError);
});

test("the largest proof is written and read, and one byte more is neither", () => {
  const small = formatTlogProof({ index: 0, hashes: [], checkpoint: "x" });
  const largest = "x".repeat(tlogProofBytesMax - small.length + 1);
  const text = formatTlogProof({ index: 0, hashes: [], checkpoint: largest });
  expect(readTlogProof(text)).toMatchObject({ checkpoint: largest });
  expect(() => readTlogProof(`${text}x`)).toThrow(SyntaxError);
  expect(() => formatTlogProof({ index: 0, hashes: [], checkpoint: `${largest}x` })).toThrow(RangeError);
});

test("whatever text comes in, only a SyntaxError comes out", () => {
  const piece = fc.constantFrom(
    "c2sp.org/tlog-proof@v1\n",
    "extra ",
    "index ",
    "5\n",
    oneText,
    "\n",
    "\n\n",
    "x",
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 12 }), (pieces) => {
      try {
        expect(formatTlogProof(readTlogProof(pieces.join("")))).toBe(pieces.join(""));
      } catch (error) {
        expect(error).toBeInstanceOf(SyntaxError);
      }
    }),
    { numRuns: 2_000 },
  );
});
