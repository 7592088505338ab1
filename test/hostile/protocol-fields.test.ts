import { ScalarType, type Message } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { frame, internalsIn, verdictOf, wires } from "../support/attack-http.ts";
import {
  endOf,
  isText,
  isWritten,
  nameOf,
  walkPaths,
  withJson,
  withValues,
  type FieldPath,
} from "../support/attack-http-fields.ts";
import { makeRequest } from "../support/attack-request.ts";
import { startAuditService, testSource } from "../support/audit-service.ts";
import { startCaseService, tenant } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { exchangeHttp2, openHttp2 } from "../support/raw-http.ts";
import { rowDigests } from "../support/row-digests.ts";
import { walkMethods, type WalkedMethod } from "../support/schema-walk.ts";
import { createIssuer } from "../support/tokens.ts";

expectNoLeaks();

type Encoding = "proto" | "json";

const stack = new AsyncDisposableStack();
const methods = await walkMethods();
/** Sends a message to a method, as gRPC, which has streams too; tells the verdict, and what of our insides shows. */
let send: (walked: WalkedMethod, encoding: Encoding, message: Uint8Array) => Promise<string>;
let stored: () => Promise<unknown>;

beforeAll(async () => {
  const issuer = stack.use(await createIssuer());
  const cases = stack.use(await startCaseService({ issuer }));
  const audit = stack.use(await startAuditService({ issuer }));
  const sessions = {
    case: stack.use(openHttp2(cases.url)).http2,
    audit: stack.use(openHttp2(audit.url)).http2,
  };
  const roles = [...new Set(methods.flatMap((walked) => walked.roles))];
  const token = await issuer.token({ tenant, sub: "ada", roles, sources: [testSource] });
  send = async ({ server, method }, encoding, message) => {
    const answer = await exchangeHttp2(sessions[server], {
      path: `/${method.parent.typeName}/${method.name}`,
      headers: { "content-type": `application/grpc+${encoding}`, authorization: `Bearer ${token}` },
      body: frame(message),
    });
    return [verdictOf(wires.grpc, answer), ...internalsIn(answer)].join(" ");
  };
  stored = async () => [
    await rowDigests(cases.database.superuserUrl),
    await rowDigests(audit.database.superuserUrl),
  ];
});
afterAll(() => stack.disposeAsync());

const invalid = "InvalidArgument INVALID_REQUEST";

/** What is sent in a field's place, by name of the attack and of the field. */
type Attacks = Record<string, { readonly encoding: Encoding; readonly message: Uint8Array }>;

/** Sends what the attacks say to every method, one field after the other: each is refused, and nothing is stored. */
function testFields(
  what: string,
  attacksOn: (path: FieldPath, walked: WalkedMethod, good: Message) => Attacks,
): void {
  test.each(["case", "audit"])(
    `${what} in any field of any method of the %s service is refused, and nothing is stored`,
    async (server) => {
      const before = await stored();
      const verdicts: Record<string, string> = {};
      for (const walked of methods.filter((method) => method.server === server)) {
        const good = makeRequest(walked)!;
        for (const path of walkPaths(walked.method.input)) {
          const attacks = Object.entries(attacksOn(path, walked, good));
          const sent = attacks.map(async ([name, { encoding, message }]) => {
            verdicts[`${name}: ${walked.name}.${nameOf(path)}`] = await send(walked, encoding, message);
          });
          await Promise.all(sent);
        }
      }
      expect(Object.keys(verdicts)).not.toEqual([]);
      const expected = Object.keys(verdicts).map((name) => [name, expectedOf(name)]);
      expect(verdicts).toEqual(Object.fromEntries(expected));
      expect(await stored()).toEqual(before);
    },
  );
}

const looseVerdicts: readonly (readonly [attack: RegExp, verdict: RegExp])[] = [
  // What is no token of ours is refused without a closer look, where tokens are looked at.
  [
    /^NUL.*\.(page|resume)_token$/,
    /^(InvalidArgument (INVALID_REQUEST|PAGE_TOKEN_INVALID)|Unimplemented .*)$/,
  ],
  // The rules of the schema cannot tell; whoever takes such a field has to.
  [/^two seconds of nanoseconds/, /^(InvalidArgument INVALID_REQUEST|Unimplemented .*)$/],
];

function expectedOf(attack: string): unknown {
  const loose = looseVerdicts.find(([fits]) => fits.test(attack));
  return loose === undefined ? invalid : expect.stringMatching(loose[1]);
}

testFields("U+0000", (path, { method: { input } }, good) => {
  if (!isText(path)) return {};
  const attacks: Attacks = {
    "NUL, binary": { encoding: "proto", message: withValues(good, input, [path, "a\0b"]) },
  };
  if (isWritten(path)) {
    const json = withJson(good, input, path, String.raw`"a\u0000b"`);
    attacks["NUL, JSON"] = { encoding: "json", message: Buffer.from(json) };
  }
  return attacks;
});

/** As long as what takes its place. */
const mark = "@@@@";
const noText = {
  "bytes that begin no character": "ffffffff",
  "a character cut off": "6161f09f",
  "a slash in two bytes too many": "61e080af",
  "half a surrogate pair": "61eda080",
};

testFields("bytes that are no UTF-8", (path, { method: { input } }, good) => {
  if (!isText(path)) return {};
  const attacks: Attacks = {};
  for (const [name, hex] of Object.entries(noText)) {
    const message = replace(withValues(good, input, [path, mark]), Buffer.from(hex, "hex"));
    attacks[`${name}, binary`] = { encoding: "proto", message };
    if (!isWritten(path)) continue;
    const json = Buffer.from(withJson(good, input, path, JSON.stringify(mark)));
    attacks[`${name}, JSON`] = { encoding: "json", message: replace(json, Buffer.from(hex, "hex")) };
  }
  return attacks;
});

function replace(message: Buffer, bytes: Buffer): Buffer {
  const at = message.indexOf(mark);
  return Buffer.concat([message.subarray(0, at), bytes, message.subarray(at + bytes.length)]);
}

/** By what a field holds. */
const noValues = {
  text: [String.raw`"\ud800"`, String.raw`"\udc00\ud800"`, String.raw`"a\udfff"`, "1", "true", "{}", "[[]]"],
  enum: ["-1", "99", "1.5", "1e400", "2147483648", '"NO_SUCH_VALUE"', '"1"', "true", "{}", "NaN"],
  number: [
    ...["NaN", "Infinity", "-Infinity", "1e400", "-1", "1.5", "1e-7", "18446744073709551616", "0x10", "01"],
    ...['"NaN"', '"-Infinity"', '"1.5"', '""', '"a"', "true", "{}", "[[]]"],
  ],
  bytes: ['"%%"', '"a"', "1", "true", "{}", "[[]]"],
};

testFields("a JSON value that it cannot hold", (path, { method: { input } }, good) => {
  if (!isWritten(path)) return {};
  const attacks: Attacks = {};
  for (const raw of noValues[kindOf(path)]) {
    attacks[raw] = { encoding: "json", message: Buffer.from(withJson(good, input, path, raw)) };
  }
  return attacks;
});

function kindOf(path: FieldPath): keyof typeof noValues {
  const { scalar, enum: values } = endOf(path);
  if (values !== undefined) return "enum";
  if (scalar === ScalarType.BYTES) return "bytes";
  return scalar === ScalarType.STRING ? "text" : "number";
}

const noTimes: Readonly<Record<string, readonly [seconds: bigint, nanos: number]>> = {
  "the year 0": [-62_135_596_801n, 0],
  "the year 10000": [253_402_300_800n, 0],
  "a year that PostgreSQL cannot hold": [9_224_318_016_000n, 0],
  "a year that no Date can hold": [8_640_000_000_001n, 0],
  "the last second there is": [2n ** 63n - 1n, 999_999_999],
  "the first second there is": [-(2n ** 63n), 0],
  "two seconds of nanoseconds": [0n, 2_000_000_000],
  "nanoseconds below zero": [0n, -1],
};

testFields("a time that is none", (path, { method: { input } }, good) => {
  const end = endOf(path);
  if (end.parent.typeName !== TimestampSchema.typeName || end.name !== "seconds") return {};
  const [first, ...rest] = path.slice(0, -1);
  if (first === undefined) throw new Error("a request that is a time");
  const attacks: Attacks = {};
  for (const [name, [seconds, nanos]] of Object.entries(noTimes)) {
    const message = withValues(
      good,
      input,
      [path, seconds],
      [[first, ...rest, TimestampSchema.field.nanos], nanos],
    );
    attacks[name] = { encoding: "proto", message };
  }
  return attacks;
});

const noTokens = {
  "a page token of garbage": "AAAA",
  "a page token of the greatest length": "A".repeat(1_024),
  "a page token beyond that": "A".repeat(1_025),
  "a page token of 900 kB": "A".repeat(900_000),
  "a page token in another alphabet": "ＡＡＡＡ",
  "a page token with line ends": "AA\r\nAA",
};

test.each(methods.flatMap((walked) => (takesPages(walked) ? [[walked.name, walked] as const] : [])))(
  "%s refuses what is no page token of ours",
  async (_, walked) => {
    const { input } = walked.method;
    const path: FieldPath = [input.fields.find(({ name }) => name === "page_token")!];
    for (const [name, token] of Object.entries(noTokens)) {
      const verdict = await send(walked, "proto", withValues(makeRequest(walked)!, input, [path, token]));
      const expected = /^(InvalidArgument (PAGE_TOKEN_INVALID|INVALID_REQUEST)|Unimplemented .*)$/;
      expect(verdict, name).toMatch(expected);
    }
  },
);

function takesPages({ method }: WalkedMethod): boolean {
  return method.input.fields.some(({ name }) => name === "page_token");
}
