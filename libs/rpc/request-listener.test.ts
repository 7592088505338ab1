import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { connectForTest, serveForTest, within } from "./serve-for-test.ts";

/** HTTP/2 has no such header, and Node refuses to write it. */
const unwritable = ["transfer-encoding", "chunked"] as const;

test.each(["grpc", "grpc-web h2", "connect h2"] as const)(
  "an answer over %s that cannot be written ends the call, and we learn of it",
  async (protocol) => {
    await using server = await serveForTest({
      routes: (router) =>
        router.service(Health, {
          check(_, { responseHeader }) {
            responseHeader.set(...unwritable);
            return {};
          },
          list: () => ({}),
        }),
    });
    using client = connectForTest(server.url, protocol);
    const call = client.health.check({}).catch((error: unknown) => ConnectError.from(error).code);
    expect([Code.Unknown, Code.Internal]).toContain(await within(call, "the call's end"));
    expect(server.failures).toHaveLength(1);
    await server.line(1);
    await expect(client.health.list({})).resolves.toBeDefined();
  },
);
