import { create, fromBinary, toBinary, type DescFile, type MessageInitShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";

import {
  file_grpc_reflection_v1_reflection,
  ServerReflection,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";
import {
  file_grpc_reflection_v1alpha_reflection,
  ServerReflection as ServerReflectionAlpha,
  ServerReflectionRequestSchema as AlphaRequestSchema,
  ServerReflectionResponseSchema as AlphaResponseSchema,
  type ServerReflectionRequest as AlphaRequest,
} from "#libs/gen/grpc/reflection/v1alpha/reflection_pb.ts";

import { indexDescriptors, type DescriptorIndex } from "./descriptor-index.ts";

/**
 * `grpc.reflection` v1 and v1alpha, which differ in their package's name alone, for the services of `files` and for
 * itself. A file comes with all that it imports, as far as this stream has not sent it before.
 */
export function reflectionRoutes(files: readonly DescFile[]): (router: ConnectRouter) => void {
  const index = indexDescriptors([
    ...files,
    file_grpc_reflection_v1_reflection,
    file_grpc_reflection_v1alpha_reflection,
  ]);
  return (router) => {
    router.service(ServerReflection, { serverReflectionInfo: (requests) => reflect(index, requests) });
    router.service(ServerReflectionAlpha, {
      serverReflectionInfo: (requests) => reflectAlpha(index, requests),
    });
  };
}

async function* reflectAlpha(index: DescriptorIndex, requests: AsyncIterable<AlphaRequest>) {
  for await (const response of reflect(index, fromAlpha(requests))) {
    yield fromBinary(AlphaResponseSchema, toBinary(ServerReflectionResponseSchema, response));
  }
}

async function* fromAlpha(requests: AsyncIterable<AlphaRequest>): AsyncIterable<ServerReflectionRequest> {
  for await (const request of requests) {
    yield fromBinary(ServerReflectionRequestSchema, toBinary(AlphaRequestSchema, request));
  }
}

async function* reflect(
  index: DescriptorIndex,
  requests: AsyncIterable<ServerReflectionRequest>,
): AsyncIterable<ServerReflectionResponse> {
  const sent = new Set<DescFile>();
  for await (const request of requests) {
    yield create(ServerReflectionResponseSchema, {
      validHost: request.host,
      originalRequest: request,
      messageResponse: answer(index, request.messageRequest, sent),
    });
  }
}

type Question = ServerReflectionRequest["messageRequest"];
type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"]>;

function answer(index: DescriptorIndex, question: Question, sent: Set<DescFile>): Answer {
  const { files, bySymbol, extensions, services } = index;
  switch (question.case) {
    case "fileByFilename":
      return toFiles(files.get(question.value), sent);
    case "fileContainingSymbol":
      return toFiles(bySymbol.get(question.value), sent);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      return toFiles(extensions.get(containingType)?.get(extensionNumber), sent);
    }
    case "allExtensionNumbersOfType": {
      const numbers = extensions.get(question.value);
      if (numbers === undefined) return notFound;
      const value = { baseTypeName: question.value, extensionNumber: [...numbers.keys()] };
      return { case: "allExtensionNumbersResponse", value };
    }
    case "listServices":
      return { case: "listServicesResponse", value: { service: services.map((name) => ({ name })) } };
    default:
      return toError(Code.InvalidArgument, "no question that this server knows");
  }
}

function toFiles(file: DescFile | undefined, sent: Set<DescFile>): Answer {
  if (file === undefined) return notFound;
  sent.delete(file); // What was asked for is sent, again if need be.
  const fileDescriptorProto = withImports(file, sent).map(({ proto }) =>
    toBinary(FileDescriptorProtoSchema, proto),
  );
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

function withImports(file: DescFile, sent: Set<DescFile>): DescFile[] {
  if (sent.has(file)) return [];
  sent.add(file);
  return [file, ...file.dependencies.flatMap((dependency) => withImports(dependency, sent))];
}

function toError(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}

const notFound = toError(Code.NotFound, "not found");
