import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { create, type DescMethod, type Message } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuditService, RecordEventsRequestSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseService, CreateCaseRequestSchema } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import {
  frame,
  internalsIn,
  verdictOf,
  wireNames,
  wires,
  type Wire,
  type WireName,
} from "../support/attack-http.ts";
import { startAuditService, testSource } from "../support/audit-service.ts";
import { content, startCaseService } from "../support/case-service.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import type { RawRequest } from "../support/raw-http.ts";
import { rowDigests } from "../support/row-digests.ts";

expectNoLeaks();

/** A service under attack, with a request that it would take. */
interface Target {
  readonly url: string;
  readonly superuserUrl: string;
  readonly token: string;
  /** A write. */
  readonly method: DescMethod;
  readonly makeMessage: () => Message;
}

const stack = new AsyncDisposableStack();
const targets = new Map<string, Target>();
/** What their databases hold before the first attack, and after each. */
const untouched = new Map<string, unknown>();

beforeAll(async () => {
  const cases = stack.use(await startCaseService());
  targets.set("case", {
    url: cases.url,
    superuserUrl: cases.database.superuserUrl,
    token: await cases.token("caseworker"),
    method: CaseService.method.createCase,
    makeMessage: () =>
      create(CreateCaseRequestSchema, { requestId: randomUUID(), caseType: "permit", content }),
  });
  const audit = stack.use(await startAuditService());
  targets.set("audit", {
    url: audit.url,
    superuserUrl: audit.database.superuserUrl,
    token: await audit.issuer.token({ sub: "source", roles: ["event_source"], sources: [testSource] }),
    method: AuditService.method.recordEvents,
    makeMessage: () => create(RecordEventsRequestSchema, { events: [makeEvent().bytes] }),
  });
  for (const [at, { superuserUrl }] of targets) untouched.set(at, await rowDigests(superuserUrl));
});
afterAll(() => stack.disposeAsync());

const invalid = "InvalidArgument INVALID_REQUEST";
const tooLarge = "ResourceExhausted TOO_LARGE";
/** What gRPC wants to be told so, and no reason of ours. */
const unimplemented = "Unimplemented (no reason)";

type Change = Partial<RawRequest> | undefined;

interface GoodRequest extends RawRequest {
  readonly body: Buffer;
}

interface Attack {
  /** What is done to a request that is good; `undefined` where the wire has nothing of the kind. */
  readonly change: (good: GoodRequest, wire: Wire) => Change;
  /** The verdict, or the verdicts of wires that differ from the rest. */
  readonly verdict: string | ({ readonly rest: string } & Readonly<Partial<Record<WireName, string>>>);
}

const mebibyte = 1024 * 1024;
const oversize = Buffer.alloc(5 * mebibyte, " ");
const bomb = gzipSync(Buffer.alloc(64 * mebibyte));
const isJson = (wire: Wire) => wire.contentType.endsWith("json");
const inFrame = (wire: Wire, message: Uint8Array, flags = 0) =>
  wire.framed ? frame(message, flags) : Buffer.from(message);
const compressed = (wire: Wire, message: Uint8Array): Change => ({
  headers: { [wire.encodingHeader]: "gzip" },
  body: inFrame(wire, message, 1),
});
const framedOnly =
  (make: (message: Buffer) => Uint8Array): Attack["change"] =>
  ({ body }, wire) =>
    wire.framed ? { body: make(body.subarray(5)) } : undefined;
const inJson =
  (make: (json: string) => string): Attack["change"] =>
  ({ body }, wire) =>
    isJson(wire) ? { body: Buffer.from(make(body.toString())) } : undefined;
const withHeaders =
  (headers: RawRequest["headers"]): Attack["change"] =>
  () => ({ headers });
const withMethod =
  (method: string): Attack["change"] =>
  () => ({ method, headers: { "content-length": "0" }, body: Buffer.alloc(0) });

const attacks: Readonly<Record<string, Attack>> = {
  "a message beyond the limit, of undeclared length": {
    change: (_, wire) => ({ body: inFrame(wire, oversize) }),
    verdict: tooLarge,
  },
  "a message beyond the limit, of declared length": {
    change(_, wire) {
      const body = inFrame(wire, oversize);
      return { headers: { "content-length": String(body.length) }, body };
    },
    verdict: tooLarge,
  },
  "a declared length without end, and nothing of it sent": {
    change: (_, wire) =>
      wire.framed
        ? undefined
        : { headers: { "content-length": String(2 ** 40) }, body: Buffer.alloc(0), ends: false },
    verdict: tooLarge,
  },
  "a message beyond the limit that has no end": {
    change: (_, wire) => ({ body: inFrame(wire, oversize), ends: false }),
    verdict: tooLarge,
  },
  "a small body that becomes 64 MiB": { change: (_, wire) => compressed(wire, bomb), verdict: tooLarge },
  "a body that is no gzip though it says so": {
    change: (_, wire) => compressed(wire, Buffer.from("plain text")),
    verdict: invalid,
  },
  "half a gzip": { change: (_, wire) => compressed(wire, bomb.subarray(0, 100)), verdict: invalid },
  "a gzip with a wrong checksum": {
    change(_, wire) {
      const zipped = gzipSync("{}");
      zipped.writeUInt8(zipped.readUInt8(zipped.length - 8) ^ 1, zipped.length - 8);
      return compressed(wire, zipped);
    },
    verdict: invalid,
  },
  "a compression that nobody knows": {
    change: (_, wire) => ({ headers: { [wire.encodingHeader]: "lzw" } }),
    verdict: unimplemented,
  },
  "a compression by a name of 10 kB": {
    change: (_, wire) => ({ headers: { [wire.encodingHeader]: "z".repeat(10_000) } }),
    verdict: unimplemented,
  },
  "a frame that is said to be compressed, and not how": {
    change: framedOnly((message) => frame(message, 1)),
    verdict: invalid,
  },
  "a frame of 4 GiB, by its own account": {
    change: framedOnly((message) => frame(message, 0, 0xffffffff)),
    verdict: tooLarge,
  },
  "a frame that is shorter than it says": {
    change: framedOnly((message) => frame(message, 0, message.length + 1)),
    verdict: invalid,
  },
  "a frame that is longer than it says": {
    change: framedOnly((message) => frame(message, 0, message.length - 1)),
    verdict: invalid,
  },
  "half the head of a frame": {
    change: framedOnly((message) => frame(message).subarray(0, 3)),
    verdict: invalid,
  },
  "a frame and half another": {
    change: framedOnly((message) => Buffer.concat([frame(message), frame(message).subarray(0, 20)])),
    verdict: invalid,
  },
  "two messages where one belongs": {
    change: framedOnly((message) => Buffer.concat([frame(message), frame(message)])),
    verdict: unimplemented,
  },
  "a body that ends in the middle": {
    change: ({ body }) => ({ body: body.subarray(0, -3) }),
    verdict: invalid,
  },
  "no body": {
    change: () => ({ body: Buffer.alloc(0) }),
    verdict: { rest: invalid, grpc: unimplemented, "gRPC-Web": unimplemented },
  },
  "a body of 0xff": {
    change: () => ({ body: Buffer.alloc(4_096, 0xff) }),
    verdict: { rest: invalid, grpc: tooLarge, "gRPC-Web": tooLarge },
  },
  "a message of 0xff": {
    change: (_, wire) => ({ body: inFrame(wire, Buffer.alloc(4_096, 0xff)) }),
    verdict: invalid,
  },
  "a message that is a JPEG, as far as it goes": {
    change: (_, wire) => ({ body: inFrame(wire, Buffer.from("ffd8ffe000104a46494600010100", "hex")) }),
    verdict: invalid,
  },
  "100,000 groups, one in the other": {
    change: (_, wire) =>
      isJson(wire) ? undefined : { body: inFrame(wire, Buffer.alloc(200_000, Buffer.of(0xfb, 0x3e))) },
    verdict: invalid,
  },
  "10,000 arrays, one in the other": {
    change: (_, wire) => (isJson(wire) ? { body: Buffer.from(deepJson(10_000)) } : undefined),
    verdict: invalid,
  },
  "500,000 arrays, one in the other": {
    change: (_, wire) => (isJson(wire) ? { body: Buffer.from(deepJson(500_000)) } : undefined),
    verdict: invalid,
  },
  "a field that nobody knows, in JSON": {
    change: inJson((json) => `{"nonsense":1,${json.slice(1)}`),
    verdict: invalid,
  },
  "a field that nobody knows, with a name of 100 kB": {
    change: inJson((json) => `{"${"x".repeat(100_000)}":1,${json.slice(1)}`),
    verdict: invalid,
  },
  "a field whose name ends lines": {
    change: inJson((json) => `{"\\r\\nx-evil: 1\\u0000":1,${json.slice(1)}`),
    verdict: invalid,
  },
  "a field by the name of __proto__": {
    change: inJson((json) => `{"__proto__":{"nonsense":1},${json.slice(1)}`),
    verdict: invalid,
  },
  "an extension that nobody knows, in JSON": {
    change: inJson((json) => `{"[caseflow.nonsense]":1,${json.slice(1)}`),
    verdict: invalid,
  },
  "the same field twice, in JSON": {
    change: inJson((json) => `${json.slice(0, -1)},${json.slice(1)}`),
    verdict: invalid,
  },
  "the same field twice, by both of its names": {
    change: inJson((json) => `${json.slice(0, -1)},"case_type":"other","events":[]}`),
    verdict: invalid,
  },
  "JSON that is no object": { change: inJson((json) => `[${json}]`), verdict: invalid },
  "JSON that is null": { change: inJson(() => "null"), verdict: invalid },
  "JSON with a comma too many": { change: inJson((json) => `${json.slice(0, -1)},}`), verdict: invalid },
  "JSON in UTF-16": {
    change: ({ body }, wire) =>
      isJson(wire) ? { body: Buffer.from(body.toString(), "utf16le") } : undefined,
    verdict: invalid,
  },
  "another content type": { change: withHeaders({ "content-type": "text/html" }), verdict: "HTTP 415" },
  "the content type of streams": {
    change: withHeaders({ "content-type": "application/connect+proto" }),
    verdict: "HTTP 415",
  },
  "a character set that is none of ours": {
    change: ({ headers }) => ({
      headers: { "content-type": `${String(headers["content-type"])}; charset=utf-16` },
    }),
    verdict: "HTTP 415",
  },
  "a GET": { change: withMethod("GET"), verdict: "HTTP 405" },
  "a GET with the message in the query": {
    change: ({ path }) => ({
      ...withMethod("GET")({} as never, {} as never),
      path: `${path}?connect=v1&encoding=json&message=%7B%7D`,
    }),
    verdict: "HTTP 405",
  },
  "a HEAD": { change: withMethod("HEAD"), verdict: "HTTP 405" },
  "a PUT": { change: withMethod("PUT"), verdict: "HTTP 405" },
  "a TRACE": { change: withMethod("TRACE"), verdict: "HTTP 405" },
  "an OPTIONS": { change: withMethod("OPTIONS"), verdict: "HTTP 405" },
  "a method that nobody knows": {
    change: withMethod("SEIZE"),
    verdict: { rest: "HTTP 405", "gRPC-Web": "HTTP 400", "Connect JSON": "HTTP 400" },
  },
  "a path below the method's": { change: ({ path }) => ({ path: `${path}/..` }), verdict: "HTTP 404" },
  "a path with a NUL in it, encoded": {
    change: ({ path }) => ({ path: `${path}%00` }),
    verdict: "HTTP 404",
  },
  "120 headers": { change: withHeaders(manyHeaders(120)), verdict: headersRefused() },
  "3,000 headers": { change: withHeaders(manyHeaders(3_000)), verdict: headersRefused() },
  "a header of 100 kB": { change: withHeaders({ x: "y".repeat(100_000) }), verdict: headersRefused() },
  "a token of 20 kB": {
    change: withHeaders({ authorization: `Bearer ${"y".repeat(20_000)}` }),
    verdict: headersRefused(),
  },
};

const rows = ["case", "audit"].flatMap((target) =>
  Object.keys(attacks).map((name) => [name, target] as const),
);

test.each(rows)("%s, sent to the %s service, has a clear answer, and nothing is stored", async (name, at) => {
  const target = targets.get(at)!;
  const { change, verdict } = attacks[name]!;
  const told: Record<string, string> = {};
  const expected: Record<string, string> = {};
  for (const wireName of wireNames) {
    const wire = wires[wireName];
    const good = makeRequest(target, wire);
    const bad = change(good, wire);
    if (bad === undefined) continue;
    const answer = await wire.send(target.url, {
      ...good,
      ...bad,
      headers: { ...good.headers, ...bad.headers },
    });
    told[wireName] = verdictOf(wire, answer);
    expected[wireName] = typeof verdict === "string" ? verdict : (verdict[wireName] ?? verdict.rest);
    expect(internalsIn(answer), wireName).toEqual([]);
  }
  expect(told).toEqual(expected);
  expect(await rowDigests(target.superuserUrl)).toEqual(untouched.get(at));
});

test.each(["case", "audit"])(
  "the request that the attacks on the %s service change is a good one",
  async (at) => {
    const target = targets.get(at)!;
    for (const wireName of wireNames) {
      const wire = wires[wireName];
      const before = await rowDigests(target.superuserUrl);
      const answer = await wire.send(target.url, makeRequest(target, wire));
      expect(verdictOf(wire, answer)).toBe("ok");
      expect(internalsIn(answer)).toEqual([]);
      expect(await rowDigests(target.superuserUrl)).not.toEqual(before);
    }
  },
);

function makeRequest({ method, makeMessage, token }: Target, wire: Wire): GoodRequest {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    headers: { "content-type": wire.contentType, authorization: `Bearer ${token}`, te: "trailers" },
    body: wire.encode(method.input, makeMessage()),
  };
}

function deepJson(depth: number): string {
  return `${"[".repeat(depth)}${"]".repeat(depth)}`;
}

function manyHeaders(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index.toString(36)}`, "1"]));
}

/** HTTP/2 has no answer for it but to close the stream. */
function headersRefused(): Attack["verdict"] {
  return { rest: "HTTP 431", grpc: "closed", Connect: "closed" };
}
