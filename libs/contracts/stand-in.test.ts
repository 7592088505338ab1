import { ConnectError, createClient, type Client, type CallOptions } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { file_grpc_health_v1_health, Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import {
  file_grpc_reflection_v1_reflection,
  ServerReflection,
} from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { createSessionManager } from "#libs/rpc/session-manager.ts";

import type { Interaction } from "./contract.ts";
import { recordContract } from "./record-contract.ts";

const check: Interaction = {
  name: "a service that serves",
  state: { name: "it serves" },
  call: {
    method: "grpc.health.v1.Health/Check",
    caller: { subject: "probe", kind: "service", roles: [] },
    deadlineMs: 1_000,
    metadata: { "x-correlation-id": "7" },
    request: { service: "a.B" },
  },
  answer: { code: "OK", message: { status: "SERVING" } },
};

const asAgreed: CallOptions = {
  timeoutMs: 1_000,
  headers: { authorization: "Bearer t", "x-correlation-id": "7" },
};

const record = () =>
  recordContract({ consumer: "probe", provider: "health", files: [file_grpc_health_v1_health] });

/** Runs a consumer that has only this client. */
function expectOf(
  interactions: readonly Interaction[],
  consume: (client: Client<typeof Health>, url: string) => Promise<unknown>,
  recorder = record(),
): Promise<void> {
  return recorder.expect(interactions, async (url) => {
    using sessions = createSessionManager(url);
    const transport = createGrpcTransport({ baseUrl: url, sessionManager: sessions });
    await consume(createClient(Health, transport), url);
  });
}

test("a consumer that calls as agreed gets the fields that are named", () =>
  expectOf([check], async (client) => {
    expect(await client.check({ service: "a.B" }, asAgreed)).toMatchObject({ status: 1 });
  }));

describe("a consumer's test fails, also when the consumer swallows the error, on", () => {
  test.each<[string, (client: Client<typeof Health>) => Promise<unknown>, string]>([
    ["another request", (client) => client.check({ service: "a.C" }, asAgreed), 'service: expected "a.B"'],
    ["a request without a field", (client) => client.check({}, asAgreed), "got nothing"],
    [
      "a missing token",
      (client) => client.check({ service: "a.B" }, { ...asAgreed, headers: { "x-correlation-id": "7" } }),
      "there is no bearer token",
    ],
    [
      "a missing header",
      (client) => client.check({ service: "a.B" }, { ...asAgreed, headers: { authorization: "Bearer t" } }),
      'header x-correlation-id: expected "7", got nothing',
    ],
    [
      "a header that is not agreed",
      (client) =>
        client.check({ service: "a.B" }, { ...asAgreed, headers: { ...asAgreed.headers, "x-other": "1" } }),
      "header x-other is not expected",
    ],
    [
      "a missing deadline",
      (client) => client.check({ service: "a.B" }, { headers: asAgreed.headers! }),
      "expected a deadline of at most 1000 ms, got none",
    ],
    [
      "a longer deadline",
      (client) => client.check({ service: "a.B" }, { ...asAgreed, timeoutMs: 60_000 }),
      "expected a deadline of at most 1000 ms, got",
    ],
    ["another method", (client) => client.list({}, asAgreed), "Health/List was called"],
  ])("%s", async (_, call, told) => {
    const both = async (client: Client<typeof Health>) => {
      await client.check({ service: "a.B" }, asAgreed);
      await call(client).catch(() => undefined);
    };
    await expect(expectOf([check], both)).rejects.toThrow(told);
  });

  test("a service that the provider does not have", async () => {
    const both = async (client: Client<typeof Health>, url: string) => {
      await client.check({ service: "a.B" }, asAgreed);
      using sessions = createSessionManager(url);
      const transport = createGrpcTransport({ baseUrl: url, sessionManager: sessions });
      const requests = (async function* () {
        yield {};
      })();
      const answers = createClient(ServerReflection, transport).serverReflectionInfo(requests);
      for await (const _ of answers) break;
    };
    expect(file_grpc_reflection_v1_reflection.services).toHaveLength(1);
    await expect(
      expectOf([check], (client, url) => both(client, url).catch(() => undefined)),
    ).rejects.toThrow("ServerReflectionInfo was called, which the provider does not have");
  });

  test("a field of the request that is not agreed", async () => {
    const bare = { ...check, call: { ...check.call, request: {} } };
    const call = (client: Client<typeof Health>) =>
      client.check({ service: "a.B" }, asAgreed).catch(() => undefined);
    await expect(expectOf([bare], call)).rejects.toThrow('request service: is not expected: "a.B"');
  });

  test("an expectation that is never called for", async () => {
    const other = { ...check, name: "another", call: { ...check.call, request: { service: "a.C" } } };
    await expect(
      expectOf([check, other], (client) => client.check({ service: "a.B" }, asAgreed)),
    ).rejects.toThrow('never called for: "another"');
  });
});

test("a field that is not named stays empty, so that a consumer that needs it fails its own test", async () => {
  const bare: Interaction = { ...check, answer: { code: "OK", message: {} } };
  await expectOf([bare], async (client) => {
    expect(await client.check({ service: "a.B" }, asAgreed)).toMatchObject({ status: 0 });
  });
});

test("a refusal brings its reason and its details, and a header", () =>
  expectOf(
    [
      {
        ...check,
        answer: {
          code: "UNAVAILABLE",
          domain: "test",
          reason: "BUSY",
          details: { "google.rpc.RetryInfo": { retryDelay: "2s" } },
        },
      },
    ],
    async (client) => {
      const refusal = await client.check({ service: "a.B" }, asAgreed).catch((error: unknown) => error);
      expect(refusal).toMatchObject({ code: 14 });
      const error = ConnectError.from(refusal);
      expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ domain: "test", reason: "BUSY" }]);
      expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 2n } }]);
    },
  ));

test("a stream gives its messages and ends, stays open or is refused, as agreed", async () => {
  const watch = (answer: Interaction["answer"]): Interaction => ({
    name: "a service is watched",
    state: { name: "it serves" },
    call: { method: "grpc.health.v1.Health/Watch", request: { service: "a.B" } },
    answer,
  });
  const read = async (client: Client<typeof Health>, max: number): Promise<readonly number[]> => {
    const statuses: number[] = [];
    for await (const { status } of client.watch({ service: "a.B" })) {
      if (statuses.push(status) === max) break;
    }
    return statuses;
  };
  const messages = [{ status: "NOT_SERVING" }, { status: "SERVING" }];
  await expectOf([watch({ code: "OK", messages, end: "closed" })], async (client) => {
    expect(await read(client, 10)).toEqual([2, 1]);
  });
  await expectOf([watch({ code: "OK", messages, end: "open" })], async (client) => {
    expect(await read(client, 2)).toEqual([2, 1]);
  });
  await expectOf([watch({ code: "NOT_FOUND" })], async (client) => {
    await expect(read(client, 1)).rejects.toHaveProperty("code", 5);
  });
});

test("what is recorded is sorted by name, and its view has what is used and nothing else", async () => {
  const recorder = record();
  const first = { ...check, name: "A" };
  await expectOf([check], (client) => client.check({ service: "a.B" }, asAgreed), recorder);
  await expectOf([first], (client) => client.check({ service: "a.B" }, asAgreed), recorder);
  const { interactions, view } = recorder.toContract();
  expect(interactions.map(({ name }) => name)).toEqual(["A", "a service that serves"]);
  expect(view).toMatchObject({
    file: [
      {
        messageType: [
          { name: "HealthCheckRequest", field: [{ name: "service", number: 1 }] },
          {
            name: "HealthCheckResponse",
            enumType: [{ value: [{ name: "UNKNOWN" }, { name: "SERVING", number: 1 }] }],
          },
        ],
        service: [{ method: [{ name: "Check" }] }],
      },
    ],
  });
});

test.each<[string, Partial<Interaction>, string]>([
  [
    "a zero is written out",
    { answer: { code: "OK", message: { status: "UNKNOWN" } } },
    "proto3 JSON writes {}",
  ],
  ["a field does not exist", { answer: { code: "OK", message: { state: "UP" } } }, '"state" is unknown'],
  ["a method does not exist", { call: { ...check.call, method: "a.B/C" } }, "no method a.B/C"],
])("an expectation in which %s is refused before anything runs", async (_, change, told) => {
  let ran = false;
  const run = record().expect([{ ...check, ...change }], async () => void (ran = true));
  await expect(run).rejects.toThrow(told);
  expect(ran).toBe(false);
});

test("two different expectations cannot have one name", async () => {
  const recorder = record();
  await expectOf([check], (client) => client.check({ service: "a.B" }, asAgreed), recorder);
  const other = { ...check, answer: { code: "OK", message: {} } } as const;
  await expect(expectOf([other], async () => {}, recorder)).rejects.toThrow("two different expectations");
});
