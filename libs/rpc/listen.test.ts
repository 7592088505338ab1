import { once } from "node:events";
import { connect as connectHttp2, constants, type ClientHttp2Session } from "node:http2";
import { connect, type Socket } from "node:net";

import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Health, HealthCheckResponse_ServingStatus as Status } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { connectForTest, protocols, readMaxBytes, serveForTest, within } from "./serve-for-test.ts";

const checkPath = "/grpc.health.v1.Health/Check";
const serving = { status: Status.SERVING };
const always = {
  routes: (router: Parameters<Parameters<typeof serveForTest>[0]["routes"]>[0]) =>
    router.service(Health, { check: () => serving }),
};

test.each(protocols)("a call gets its answer over %s on the one port", async (protocol) => {
  await using server = await serveForTest(always);
  using client = connectForTest(server.url, protocol);
  expect(await client.health.check({ service: "a" })).toMatchObject(serving);
});
