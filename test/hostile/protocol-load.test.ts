import { randomUUID } from "node:crypto";
import { create, fromBinary, fromJsonString } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  CaseService,
  CreateCaseRequestSchema,
  CreateCaseResponseSchema,
  type CreateCaseResponse,
} from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { wires } from "../support/attack-http.ts";
import {
  databaseConnections,
  startAttackedService,
  type AttackedService,
} from "../support/attack-http-process.ts";
import { sendWave } from "../support/attack-load.ts";
import { tenantDigests } from "../support/attack-rows.ts";
import { content, tenant } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { exchangeHttp2, openHttp2, sendHttp1, type SendRequest } from "../support/raw-http.ts";
import { openRawHttp2 } from "../support/raw-http2.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/*
 * Thousands of bad callers beside good ones, on a service that is a process of its own. What it keeps is compared from wave
 * to equal wave: a leak grows with each.
 */

const stack = new AsyncDisposableStack();
let service: AttackedService;

beforeAll(async () => {
  service = stack.use(await startAttackedService());
});
afterAll(() => stack.disposeAsync());

const createPath = `/${CaseService.typeName}/CreateCase`;
const json = wires["Connect JSON"];
const intruder = "intruder";

/** As Connect says it over HTTP. */
const unavailable = 503;
const triesMax = 5;

/** Creates a case, as a client does who was told that it may try again; returns its title as told, or else the answer. */
async function createOne(
  send: SendRequest,
  wire: typeof wires.Connect | typeof json,
  token: string,
  requestId: string,
  texts: { readonly title: string; readonly summary?: string },
): Promise<string> {
  const message = create(CreateCaseRequestSchema, {
    requestId,
    caseType: "permit",
    content: { ...content, ...texts },
  });
  const request = {
    path: createPath,
    headers: { "content-type": wire.contentType, authorization: `Bearer ${token}` },
    body: wire.encode(CreateCaseRequestSchema, message),
  };
  let answer = await send(service.url, request);
  for (let tries = 1; tries < triesMax && answer.status === unavailable; tries++) {
    answer = await send(service.url, request);
  }
  if (answer.status !== 200) return `HTTP ${answer.status}: ${answer.body.toString()}`;
  const told: CreateCaseResponse =
    wire === json
      ? fromJsonString(CreateCaseResponseSchema, answer.body.toString())
      : fromBinary(CreateCaseResponseSchema, answer.body);
  return told.case?.content?.title ?? "no case";
}

interface GoodCalls {
  /** The request id of each call, in any order. */
  readonly requestIds: readonly string[];
  /** What was not the right answer. */
  readonly wrong: readonly string[];
}

const callsAtLeast = 5;

/** Calls one by one until `over`, over one connection of HTTP/2 or over a new one of HTTP/1.1 each time. */
async function callWell(version: "HTTP/1.1" | "HTTP/2", over: Promise<unknown>): Promise<GoodCalls> {
  using session = openHttp2(service.url);
  const isNew = version === "HTTP/1.1";
  const send: SendRequest = isNew ? sendHttp1 : (_, request) => exchangeHttp2(session.http2, request);
  const requestIds: string[] = [];
  const wrong: string[] = [];
  const wave = { isOver: false };
  void over.then(() => (wave.isOver = true));
  while (!wave.isOver || requestIds.length < callsAtLeast) {
    const requestId = randomUUID();
    requestIds.push(requestId);
    const title = `Case ${requestId}`;
    const told = await createOne(send, isNew ? json : wires.Connect, service.token, requestId, { title });
    if (told !== title) wrong.push(told);
  }
  return { requestIds, wrong };
}

async function storedRequestIds(): Promise<readonly string[]> {
  await using superuser = await openSuperuser(service.database.superuserUrl);
  const { rows } = await superuser.query<{ request_id: string }>(
    "SELECT request_id FROM audit_entries WHERE tenant_id = $1",
    [tenant],
  );
  return rows.map((row) => row.request_id);
}

const mebibyte = 1024 * 1024;
/** The first is for what is made once: code, pools, caches. */
const waves = 3;
/** A wave is of 330 connections with 1,300 calls on them or more: 1 KiB kept of each would show. */
const keptGrowthMax = 3 * mebibyte;
/** Coarse, for what is beside the heap: pages that were freed are not given back at once. */
const residentGrowthMax = 128 * mebibyte;
const quietMs = 15_000;

test(
  "waves of bad callers leave nothing stored and nothing kept, and every good call between them has its own answer",
  { timeout: 180_000 },
  async () => {
    const token = await service.issuer.token({ tenant: intruder, sub: "eve", roles: ["caseworker"] });
    for (let i = 0; i < 20; i++) {
      const texts = { title: "Filler", summary: "x".repeat(8_000) };
      expect(await createOne(sendHttp1, json, token, randomUUID(), texts)).toBe("Filler");
    }
    const before = await tenantDigests(service.database.superuserUrl, intruder);
    const requestIds: string[] = [];
    let first: { readonly kept: number; readonly resident: number; readonly files: number } | undefined;
    for (let wave = 0; wave < waves; wave++) {
      const bad = sendWave({ url: service.url, token });
      const good = await Promise.all(
        (["HTTP/2", "HTTP/2", "HTTP/1.1", "HTTP/1.1"] as const).map((version) => callWell(version, bad)),
      );
      expect(await bad).toEqual([]);
      expect(good.flatMap(({ wrong }) => wrong)).toEqual([]);
      requestIds.push(...good.flatMap((calls) => calls.requestIds));
      await expect.poll(() => service.connections(), { timeout: quietMs, interval: 50 }).toBe(0);
      if (first === undefined) {
        const [kept, resident] = [await service.keptBytes(), await service.residentBytes()];
        first = { kept, resident, files: await service.openFiles() };
        continue;
      }
      // What was abandoned may still be on its way through the database.
      await expect
        .poll(() => service.keptBytes(), { timeout: quietMs, interval: 200 })
        .toBeLessThan(first.kept + keptGrowthMax);
      expect(await service.residentBytes()).toBeLessThan(first.resident + residentGrowthMax);
      expect(await service.openFiles()).toBeLessThanOrEqual(first.files + databaseConnections);
    }
    expect((await storedRequestIds()).toSorted((a, b) => a.localeCompare(b))).toEqual(
      requestIds.toSorted((a, b) => a.localeCompare(b)),
    );
    expect(await tenantDigests(service.database.superuserUrl, intruder)).toEqual(before);
    expect(service.complaints()).toEqual([]);
  },
);

const connectionsMax = 1_024;
const idle = 1_500;

test("of more connections than allowed the rest are closed at once, and who is connected is served", async () => {
  using session = openHttp2(service.url);
  const call = () => {
    const title = "Served";
    const send: SendRequest = (_, request) => exchangeHttp2(session.http2, request);
    return createOne(send, wires.Connect, service.token, randomUUID(), { title });
  };
  expect(await call()).toBe("Served");
  {
    await using connections = new AsyncDisposableStack();
    let closed = 0;
    const opening = Array.from({ length: idle }, async () => {
      const { peer } = connections.use(await openRawHttp2(service.url));
      void peer.ended.then(() => closed++);
    });
    await Promise.all(opening);
    await expect.poll(() => closed, { timeout: quietMs }).toBe(idle + 1 - connectionsMax);
    await expect.poll(() => service.connections(), { timeout: quietMs }).toBe(connectionsMax);
    expect(await call()).toBe("Served");
  }
  await expect.poll(() => service.connections(), { timeout: quietMs }).toBe(1);
  expect(await service.callWell()).toBe("ok");
  expect(service.complaints()).toEqual([]);
});
