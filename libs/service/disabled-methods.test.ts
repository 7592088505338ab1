import { expect, test } from "vitest";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";
import { disabledMethods } from "./disabled-methods.ts";

const read = (value?: string) =>
  disabledMethods([Health, ServerReflection])(
    value === undefined ? {} : { CASEFLOW_DISABLED_METHODS: value },
  );

test.each([
  [undefined, []],
  ["  ", []],
  ["Check", ["grpc.health.v1.Health/Check"]],
  ["grpc.health.v1.Health/Check", ["grpc.health.v1.Health/Check"]],
  [
    "Watch, Check,grpc.health.v1.Health/Check,",
    ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"],
  ],
])("%j switches off just %j", (value, names) => {
  expect(read(value).value).toEqual(names);
});

test("what is switched off is shown as it was written", () => {
  const shown = { name: "CASEFLOW_DISABLED_METHODS", value: ["Watch", "Check"], isDefault: false };
  expect(read("Watch, Check")).toMatchObject({ shown: [shown] });
});

test.each(["Nonsense", "check", "Health/Check", "grpc.health.v1.Health/*", "Check Watch"])(
  "%j is a fault that names the methods there are",
  (value) => {
    const { fault } = read(value);
    expect(fault).toContain(`CASEFLOW_DISABLED_METHODS: ${JSON.stringify(value)}`);
    for (const known of ["grpc.health.v1.Health/Check", "Watch", "ServerReflectionInfo"])
      expect(fault).toContain(known);
  },
);
