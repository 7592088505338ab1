import { randomUUID } from "node:crypto";
import { constants } from "node:http2";
import { create, type DescMethod, type Message } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuditService, RecordEventsRequestSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseService, CreateCaseRequestSchema } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { internalsIn, verdictOf, wires, type WireName } from "../support/attack-http.ts";
import { startAuditService, testSource } from "../support/audit-service.ts";
import { content, startCaseService } from "../support/case-service.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { encodeHttp1, openHttp2, openPeer, type RawRequest } from "../support/raw-http.ts";
import { rowDigests } from "../support/row-digests.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/** A service, a write that it takes, and how to see what became of it. */
interface Target {
  readonly url: string;
  readonly superuserUrl: string;
  readonly token: string;
  readonly method: DescMethod;
  /** A write of its own; `key` is what its effect is found by. */
  readonly makeWrite: () => { readonly message: Message; readonly key: string };
  /** How often the write of `$1` took effect. */
  readonly effectSql: string;
  /** Holds up the write, or what it reads first. */
  readonly lockSql: string;
}

const stack = new AsyncDisposableStack();
const targets = new Map<string, Target>();

beforeAll(async () => {
  const cases = stack.use(await startCaseService());
  targets.set("case", {
    url: cases.url,
    superuserUrl: cases.database.superuserUrl,
    token: await cases.token("caseworker"),
    method: CaseService.method.createCase,
    makeWrite() {
      const key = randomUUID();
      const message = create(CreateCaseRequestSchema, { requestId: key, caseType: "permit", content });
      return { message, key };
    },
    effectSql: "SELECT 1 FROM audit_entries JOIN cases USING (tenant_id, case_id) WHERE request_id = $1",
    lockSql: "LOCK TABLE cases IN ACCESS EXCLUSIVE MODE",
  });
  const audit = stack.use(await startAuditService());
  targets.set("audit", {
    url: audit.url,
    superuserUrl: audit.database.superuserUrl,
    token: await audit.issuer.token({ sub: "source", roles: ["event_source"], sources: [testSource] }),
    method: AuditService.method.recordEvents,
    makeWrite() {
      const { bytes, eventId } = makeEvent();
      return { message: create(RecordEventsRequestSchema, { events: [bytes] }), key: eventId };
    },
    effectSql: "SELECT 1 FROM events WHERE event_id = $1",
    lockSql: "LOCK TABLE events IN ACCESS EXCLUSIVE MODE",
  });
});
afterAll(() => stack.disposeAsync());

interface Write extends RawRequest {
  readonly body: Buffer;
  readonly key: string;
}

function prepareWrite(
  target: Target,
  wireName: WireName,
  headers: Readonly<Record<string, string>> = {},
): Write {
  const { method, makeWrite, token } = target;
  const wire = wires[wireName];
  const { message, key } = makeWrite();
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    headers: {
      "content-type": wire.contentType,
      authorization: `Bearer ${token}`,
      te: "trailers",
      ...headers,
    },
    body: wire.encode(method.input, message),
    key,
  };
}

async function countEffects({ superuserUrl, effectSql }: Target, key: string): Promise<number | null> {
  await using client = await openSuperuser(superuserUrl);
  return (await client.query(effectSql, [key])).rowCount;
}

/** Holds up writes until it is disposed. */
async function holdWrites({
  superuserUrl,
  lockSql,
}: Target): Promise<AsyncDisposable & { waiting(): Promise<number | null> }> {
  const holder = await openSuperuser(superuserUrl);
  await holder.query("BEGIN");
  await holder.query(lockSql);
  return {
    async waiting() {
      const { rowCount } = await holder.query(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      );
      return rowCount;
    },
    async [Symbol.asyncDispose]() {
      await holder.query("ROLLBACK");
      await holder[Symbol.asyncDispose]();
    },
  };
}

/** A call that is made piece by piece, and given up at any time. */
interface OpenCall {
  send(bytes: Uint8Array): void;
  finish(): void;
  /** Settles once the caller has nothing to do with it any more. */
  cancel(): Promise<void>;
}

function openCallHttp2(url: string, { path, headers }: Write): OpenCall {
  const session = openHttp2(url);
  const plain = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
  const stream = session.http2.request({ ":method": "POST", ":path": path, ...plain }, { endStream: false });
  const closed = Promise.withResolvers<void>();
  stream
    .on("error", () => {})
    .on("close", closed.resolve)
    .resume();
  return {
    send: (bytes) => void stream.write(bytes),
    finish: () => void stream.end(),
    async cancel() {
      stream.close(constants.NGHTTP2_CANCEL);
      await closed.promise;
      session[Symbol.dispose]();
    },
  };
}

async function openCallHttp1(url: string, write: Write): Promise<OpenCall> {
  const peer = await openPeer(url);
  const headers = { ...write.headers, "content-length": String(write.body.length) };
  peer.socket.write(encodeHttp1({ ...write, headers, body: Buffer.alloc(0) }));
  return {
    send: (bytes) => void peer.socket.write(bytes),
    finish() {},
    async cancel() {
      peer.socket.resetAndDestroy();
      await peer[Symbol.asyncDispose]();
    },
  };
}

const transports = { grpc: openCallHttp2, "Connect JSON": openCallHttp1 } as const;
type TransportName = keyof typeof transports;

/** How far the caller gets before he gives up. */
const stages: Readonly<Record<string, (call: OpenCall, write: Write) => void>> = {
  "after the headers": () => {},
  "in the middle of the body": (call, { body }) => call.send(body.subarray(0, body.length / 2)),
  "one byte before the end": (call, { body }) => call.send(body.subarray(0, -1)),
};

const places = ["case", "audit"].flatMap((target) =>
  (Object.keys(transports) as TransportName[]).map((transport) => [target, transport] as const),
);

test.each(places)(
  "a write to the %s service over %s that is given up half said has no effect",
  async (at, name) => {
    const target = targets.get(at)!;
    const before = await rowDigests(target.superuserUrl);
    const writes = Object.values(stages).map(async (stage) => {
      const write = prepareWrite(target, name);
      const call = await transports[name](target.url, write);
      stage(call, write);
      await call.cancel();
    });
    await Promise.all(writes);
    expect(await rowDigests(target.superuserUrl)).toEqual(before);
    const after = prepareWrite(target, name);
    expect(verdictOf(wires[name], await wires[name].send(target.url, after))).toBe("ok");
    expect(await countEffects(target, after.key)).toBe(1);
  },
);

test.each(places)(
  "a write to the %s service over %s that is given up once it is said takes effect once at most, and a retry tells",
  async (at, name) => {
    const target = targets.get(at)!;
    for (let attempt = 0; attempt < 8; attempt++) {
      const write = prepareWrite(target, name);
      const call = await transports[name](target.url, write);
      call.send(write.body);
      call.finish();
      await call.cancel();
      expect(verdictOf(wires[name], await wires[name].send(target.url, write))).toBe("ok");
      expect(await countEffects(target, write.key)).toBe(1);
    }
  },
);

test.each(places)(
  "a write to the %s service over %s that is given up while its statement runs takes effect whole, and a retry replays it",
  async (at, name) => {
    const target = targets.get(at)!;
    const write = prepareWrite(target, name);
    {
      await using hold = await holdWrites(target);
      const call = await transports[name](target.url, write);
      call.send(write.body);
      call.finish();
      await expect.poll(() => hold.waiting(), { timeout: 10_000, interval: 10 }).toBe(1);
      await call.cancel();
    }
    await expect.poll(() => countEffects(target, write.key), { timeout: 10_000 }).toBe(1);
    const again = await wires[name].send(target.url, write);
    expect(verdictOf(wires[name], again)).toBe("ok");
    if (at === "case") expect(again.headers["caseflow-replayed"]).toBe("true");
    expect(await countEffects(target, write.key)).toBe(1);
  },
);

const outOfTime =
  /^(DeadlineExceeded \(no reason\)|Unavailable (OVERLOADED|DEPENDENCY_DOWN|OUTCOME_UNKNOWN))$/;
const timeoutHeader = (name: WireName, ms: number): Record<string, string> =>
  wires[name].framed ? { "grpc-timeout": `${ms}m` } : { "connect-timeout-ms": String(ms) };

test.each(places)(
  "a write to the %s service over %s whose time is up while its statement runs has no effect, and a retry has",
  async (at, name) => {
    const target = targets.get(at)!;
    const before = await rowDigests(target.superuserUrl);
    const write = prepareWrite(target, name, timeoutHeader(name, 300));
    {
      await using _hold = await holdWrites(target);
      const answer = await wires[name].send(target.url, write);
      expect(verdictOf(wires[name], answer)).toMatch(outOfTime);
      expect(internalsIn(answer)).toEqual([]);
    }
    expect(await rowDigests(target.superuserUrl)).toEqual(before);
    const { headers } = prepareWrite(target, name);
    expect(verdictOf(wires[name], await wires[name].send(target.url, { ...write, headers }))).toBe("ok");
    expect(await countEffects(target, write.key)).toBe(1);
  },
);

const wireTimes = ["case", "audit"].flatMap((at) =>
  (Object.keys(wires) as WireName[]).map((name) => [at, name] as const),
);

test.each(wireTimes)("the %s service over %s is done in a millisecond, or not at all", async (at, name) => {
  const target = targets.get(at)!;
  for (let attempt = 0; attempt < 8; attempt++) {
    const write = prepareWrite(target, name, timeoutHeader(name, 1));
    const answer = await wires[name].send(target.url, write);
    const verdict = verdictOf(wires[name], answer);
    if (verdict !== "ok") expect(verdict).toMatch(outOfTime);
    expect(internalsIn(answer)).toEqual([]);
    const { headers } = prepareWrite(target, name);
    expect(verdictOf(wires[name], await wires[name].send(target.url, { ...write, headers }))).toBe("ok");
    expect(await countEffects(target, write.key)).toBe(1);
  }
});

/** What is sent as the time for a call, and the verdict. */
const times: readonly (readonly [grpc: string | undefined, connect: string | undefined, verdict: string])[] =
  [
    ["0m", "0", "DeadlineExceeded (no reason)"],
    ["0H", undefined, "DeadlineExceeded (no reason)"],
    ["100H", "360000000", "ok"],
    ["99999999H", "9999999999", "ok"],
    ["99999999S", "2147483648", "ok"],
    ["-1m", "-1", "InvalidArgument INVALID_REQUEST"],
    ["1", "1m", "InvalidArgument INVALID_REQUEST"],
    ["m", "m", "InvalidArgument INVALID_REQUEST"],
    ["1x", "1e3", "InvalidArgument INVALID_REQUEST"],
    ["1.5S", "1.5", "InvalidArgument INVALID_REQUEST"],
    ["999999999m", "99999999999", "InvalidArgument INVALID_REQUEST"],
    ["1 m", "1 0", "InvalidArgument INVALID_REQUEST"],
    ["1m,2m", "1,2", "InvalidArgument INVALID_REQUEST"],
    ["NaNm", "NaN", "InvalidArgument INVALID_REQUEST"],
    ["InfinityS", "Infinity", "InvalidArgument INVALID_REQUEST"],
  ];

test.each(wireTimes)(
  "the %s service over %s takes a time that is none for a mistake, and a long one for long",
  async (at, name) => {
    const target = targets.get(at)!;
    const wire = wires[name];
    const told: Record<string, string> = {};
    const expected: Record<string, string> = {};
    for (const [grpc, connect, verdict] of times) {
      const time = wire.framed ? grpc : connect;
      if (time === undefined) continue;
      const write = prepareWrite(target, name, {
        [wire.framed ? "grpc-timeout" : "connect-timeout-ms"]: time,
      });
      told[time] = verdictOf(wire, await wire.send(target.url, write));
      expected[time] = verdict;
      expect(await countEffects(target, write.key), time).toBe(verdict === "ok" ? 1 : 0);
    }
    expect(told).toEqual(expected);
  },
);

test.each(wireTimes)(
  "the %s service over %s answers in time for a body that does not come",
  async (at, name) => {
    const target = targets.get(at)!;
    const before = await rowDigests(target.superuserUrl);
    for (const part of [0, 0.5]) {
      const write = prepareWrite(target, name, timeoutHeader(name, 50));
      const body = write.body.subarray(0, write.body.length * part);
      const answer = await wires[name].send(target.url, { ...write, body, ends: false });
      expect(verdictOf(wires[name], answer)).toBe("DeadlineExceeded (no reason)");
      expect(internalsIn(answer)).toEqual([]);
    }
    expect(await rowDigests(target.superuserUrl)).toEqual(before);
  },
);
