import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { HealthCheckRequestSchema } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { noteCall, noteMessages } from "./call-notes.ts";
import { connectForTest, protocols, serveForTest } from "./serve-for-test.ts";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";

/** Requests have a `service`, answers a `status`. */
const notes = noteMessages((message) =>
  message.$typeName === HealthCheckRequestSchema.typeName && "service" in message
    ? { asked: String(message.service) }
    : { answered: true },
);

test.each(protocols)("over %s, a line tells what request and answer were about", async (protocol) => {
  await using server = await serveForTest({
    interceptors: [notes],
    routes: (router) =>
      router.service(Health, {
        check: (_, { values }) => {
          noteCall(values, { asked: undefined, places: ["a", "b"] });
          return {};
        },
        async *watch() {
          yield {};
        },
      }),
  });
  using client = connectForTest(server.url, protocol);
  await client.health.check({ service: "x" });
  expect((await server.line(1)).notes).toEqual({ asked: "x", answered: true, places: ["a", "b"] });
  for await (const _ of client.health.watch({ service: "y" }));
  expect((await server.line(2)).notes).toEqual({ asked: "y" });
});

test("the line of a call that fails tells what its request was about", async () => {
  await using server = await serveForTest({
    interceptors: [
      notes,
      () => () => {
        throw new ConnectError("no", Code.InvalidArgument);
      },
    ],
    routes: (router) => router.service(Health, { check: () => ({}) }),
  });
  using client = connectForTest(server.url);
  await client.health.check({ service: "x" }).catch(() => {});
  expect(await server.line(1)).toMatchObject({ code: "invalid_argument", notes: { asked: "x" } });
});
