import type { HandlerContext } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { correlationIdKey, requestIdKey } from "./request-context.ts";
import { connectForTest, protocols, serveForTest } from "./serve-for-test.ts";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test.each(protocols)(
  "a caller over %s gets its correlation id back, and none is shared by accident",
  async (p) => {
    const seen: string[][] = [];
    const see = ({ values }: HandlerContext) => {
      seen.push([values.get(requestIdKey), values.get(correlationIdKey)]);
      return {};
    };
    await using server = await serveForTest({
      routes: (router) => router.service(Health, { check: (_, context) => see(context) }),
    });
    using client = connectForTest(server.url, p);
    const given = ["order-7", "!~", "x".repeat(128)];
    const refused = ["", "a b", "é", "x".repeat(129)];
    const echoed: (string | null)[] = [];
    for (const id of [...given, ...refused]) {
      await client.health.check(
        {},
        {
          headers: { "x-correlation-id": id },
          onHeader: (header) => echoed.push(header.get("x-correlation-id")),
        },
      );
    }
    await client.health.check({}, { onHeader: (header) => echoed.push(header.get("x-correlation-id")) });
    expect(echoed.slice(0, given.length)).toEqual(given);
    for (const made of echoed.slice(given.length)) expect(made).toMatch(uuid);
    expect(seen.map(([, correlationId]) => correlationId)).toEqual(echoed);
    expect(new Set(seen.flat()).size).toBe(2 * seen.length);
  },
);
