import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { createFileRegistry, fromBinary, type DescService, type MessageInitShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { file_caseflow_audit_v1_audit_service } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { file_grpc_health_v1_health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import {
  ServerReflection,
  type ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionAlpha } from "#libs/gen/grpc/reflection/v1alpha/reflection_pb.ts";

import { createHealth } from "./health.ts";
import { reflectionRoutes } from "./reflection.ts";
import { connectForTest, serveForTest, within } from "./serve-for-test.ts";

type Question = NonNullable<MessageInitShape<typeof ServerReflectionRequestSchema>["messageRequest"]>;

const versions = [
  ["v1", ServerReflection],
  ["v1alpha", ServerReflectionAlpha],
] as const;

const bySymbol = (value: string): Question => ({ case: "fileContainingSymbol", value });
const byName = (value: string): Question => ({ case: "fileByFilename", value });
const byExtension = (containingType: string, extensionNumber: number): Question => ({
  case: "fileContainingExtension",
  value: { containingType, extensionNumber },
});

test.each(versions)(
  "%s lists the services it was given and itself, and not those of imports",
  async (_, service) => {
    const [answer] = await ask(service, [{ case: "listServices", value: "*" }]);
    expect(answer?.messageResponse).toMatchObject({
      case: "listServicesResponse",
      value: {
        service: [
          { name: "caseflow.audit.v1.AuditService" },
          { name: "grpc.health.v1.Health" },
          { name: "grpc.reflection.v1.ServerReflection" },
          { name: "grpc.reflection.v1alpha.ServerReflection" },
        ],
      },
    });
  },
);

test.each([
  ["a message", bySymbol("grpc.health.v1.HealthCheckRequest"), "grpc/health/v1/health.proto"],
  [
    "a nested enum",
    bySymbol("grpc.health.v1.HealthCheckResponse.ServingStatus"),
    "grpc/health/v1/health.proto",
  ],
  ["an enum's value", bySymbol("grpc.health.v1.HealthCheckResponse.SERVING"), "grpc/health/v1/health.proto"],
  ["a field", bySymbol("grpc.health.v1.HealthCheckRequest.service"), "grpc/health/v1/health.proto"],
  [
    "a oneof",
    bySymbol("grpc.reflection.v1.ServerReflectionRequest.message_request"),
    "grpc/reflection/v1/reflection.proto",
  ],
  ["a service", bySymbol("grpc.health.v1.Health"), "grpc/health/v1/health.proto"],
  ["a method", bySymbol("grpc.health.v1.Health.Check"), "grpc/health/v1/health.proto"],
  ["an extension", bySymbol("caseflow.options.v1.authz"), "caseflow/options/v1/authz.proto"],
  ["a message of an import", bySymbol("google.protobuf.Timestamp"), "google/protobuf/timestamp.proto"],
  [
    "an extension's number",
    byExtension("google.protobuf.MethodOptions", 50_061),
    "caseflow/options/v1/authz.proto",
  ],
  ["a file's name", byName("buf/validate/validate.proto"), "buf/validate/validate.proto"],
])("%s leads to its file and all that it imports", async (_, question, name) => {
  for (const [, service] of versions) {
    const [answer] = await ask(service, [question]);
    const files = filesOf(answer);
    expect(files[0]?.name).toBe(name);
    const names = new Set(files.map((file) => file.name));
    expect(names.size).toBe(files.length);
    for (const file of files) for (const dependency of file.dependency) expect(names).toContain(dependency);
  }
});

test.each([
  ["an unknown symbol", bySymbol("grpc.health.v1.Nothing")],
  ["a symbol with a leading dot", bySymbol(".grpc.health.v1.Health")],
  ["a package", bySymbol("grpc.health.v1")],
  ["an unknown file", byName("grpc/health/v1/nothing.proto")],
  ["a file without its suffix", byName("grpc/health/v1/health")],
  ["an unknown extension", byExtension("google.protobuf.MethodOptions", 1)],
  ["an extension of an unknown message", byExtension("a.B", 1)],
  ["the extensions of an unknown message", { case: "allExtensionNumbersOfType", value: "a.B" } as const],
  ["a name from the language", bySymbol("__proto__")],
])("%s is not found, which does not end the stream", async (_, question) => {
  for (const [, service] of versions) {
    const answers = await ask(service, [question, bySymbol("grpc.health.v1.Health")]);
    expect(answers[0]?.messageResponse).toMatchObject({
      case: "errorResponse",
      value: { errorCode: Code.NotFound },
    });
    expect(filesOf(answers[1])).not.toEqual([]);
  }
});

test("the numbers of a message's extensions are told, also when there are none", async () => {
  const of = (value: string) => ({ case: "allExtensionNumbersOfType", value }) as const;
  const answers = await ask(ServerReflection, [
    of("google.protobuf.MethodOptions"),
    of("grpc.health.v1.HealthCheckRequest"),
  ]);
  expect(answers.map(({ messageResponse }) => messageResponse.value)).toMatchObject([
    { baseTypeName: "google.protobuf.MethodOptions", extensionNumber: expect.arrayContaining([50_061]) },
    { baseTypeName: "grpc.health.v1.HealthCheckRequest", extensionNumber: [] },
  ]);
});

test("a question of no known kind is an error, and each answer repeats its question and host", async () => {
  const answers = await ask(ServerReflection, [undefined, bySymbol("a.B")]);
  expect(answers[0]?.messageResponse).toMatchObject({
    case: "errorResponse",
    value: { errorCode: Code.InvalidArgument },
  });
  expect(answers[1]).toMatchObject({
    validHost: "here",
    originalRequest: { host: "here", messageRequest: bySymbol("a.B") },
  });
});

test("a stream is sent no import twice, but always the file that it asks for", async () => {
  const timestamp = "google/protobuf/timestamp.proto";
  const audit = bySymbol("caseflow.audit.v1.AuditService");
  const answers = await ask(ServerReflection, [audit, audit, byName(timestamp)]);
  const names = answers.map((answer) => filesOf(answer).map(({ name }) => name));
  expect(names[0]).toContain(timestamp);
  expect(names.slice(1)).toEqual([["caseflow/audit/v1/audit_service.proto"], [timestamp]]);
});

test("the files of one answer are enough to build the service from, with its options", async () => {
  const [answer] = await ask(ServerReflection, [bySymbol("caseflow.audit.v1.AuditService")]);
  const [file, ...imports] = filesOf(answer);
  if (file === undefined) throw new Error("no file");
  const registry = createFileRegistry(file, (name) => imports.find((other) => other.name === name));
  const method = registry.getService("caseflow.audit.v1.AuditService")?.method["getEvent"];
  expect(method?.input.typeName).toBe("caseflow.audit.v1.GetEventRequest");
  expect(method?.proto.options?.$unknown?.map(({ no }) => no)).toContain(50_061);
});

test.each(["grpc", "grpcweb", "connect"])(
  "buf curl calls over %s with nothing but the port",
  async (protocol) => {
    await using server = await serveDemo();
    const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));
    const curl = async (...parameters: string[]) => {
      const standard = ["curl", "--http2-prior-knowledge", "--protocol", protocol];
      const { stdout } = await promisify(execFile)(buf, [...standard, ...parameters], { timeout: 20_000 });
      return stdout.trim();
    };
    expect(JSON.parse(await curl("-d", "{}", `${server.url}/grpc.health.v1.Health/Check`))).toEqual({
      status: "NOT_SERVING",
    });
    const reflection = ["--reflect", "--reflect-protocol", "grpc-v1alpha"];
    expect((await curl(...reflection, "--list-services", server.url)).split("\n")).toContain(
      "grpc.health.v1.Health",
    );
  },
);

function serveDemo() {
  const health = createHealth([]);
  const reflection = reflectionRoutes([file_caseflow_audit_v1_audit_service, file_grpc_health_v1_health]);
  return serveForTest({
    writeMaxBytes: 1_048_576,
    routes(router) {
      health.routes(router);
      reflection(router);
    },
  });
}

/** Asks all questions on one stream. */
async function ask(
  service: DescService,
  questions: readonly (Question | undefined)[],
): Promise<ServerReflectionResponse[]> {
  await using server = await serveDemo();
  using client = connectForTest(server.url);
  // The two versions differ in their package's name alone.
  const { serverReflectionInfo } = createClient(service as typeof ServerReflection, client.transport);
  const answers: ServerReflectionResponse[] = [];
  const requests = async function* () {
    for (const question of questions) {
      yield { host: "here", messageRequest: question ?? { case: undefined, value: undefined } };
    }
  };
  const read = async () => {
    for await (const answer of serverReflectionInfo(requests())) answers.push(answer);
  };
  await within(read(), "all answers");
  return answers;
}

function filesOf(answer: ServerReflectionResponse | undefined) {
  const response = answer?.messageResponse;
  if (response?.case !== "fileDescriptorResponse") return [];
  return response.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
}
