import { fromBinary, toBinary, type Message } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { StatusSchema } from "#libs/gen/google/rpc/status_pb.ts";

import { nameOfCode } from "./codes.ts";
import { patienceMs, type ErrorDetail, type Replay, type Replayed, type ReplayRequest } from "./replay.ts";

/** Replays with `@grpc/grpc-js`, which shares no code with connect-node. */
export const replayByGrpcJs: Replay = async (replay) => {
  const { input, output, parent, name, methodKind } = replay.method;
  if (methodKind !== "unary" && methodKind !== "server_streaming") {
    throw new Error(`${name} takes a stream of requests, which cannot be replayed`);
  }
  const Client = grpc.makeGenericClientConstructor(
    {
      [name]: {
        path: `/${parent.typeName}/${name}`,
        requestStream: false,
        responseStream: methodKind === "server_streaming",
        requestSerialize: (message: Message) => Buffer.from(toBinary(input, message)),
        requestDeserialize: (bytes: Buffer) => fromBinary(input, bytes),
        responseSerialize: (message: Message) => Buffer.from(toBinary(output, message)),
        responseDeserialize: (bytes: Buffer) => fromBinary(output, bytes),
      },
    },
    parent.typeName,
  );
  const client = new Client(new URL(replay.url).host, grpc.credentials.createInsecure());
  try {
    // It has the method that it was made of, whose two kinds grpc-js tells apart by their arguments.
    const call = client[name]!.bind(client) as never;
    return await (methodKind === "unary" ? callOnce(call, replay) : callStream(call, replay));
  } finally {
    client.close();
  }
};

type UnaryCall = (
  request: Message,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  done: (error: grpc.ServiceError | null, message?: Message) => void,
) => grpc.ClientUnaryCall;

type StreamCall = (
  request: Message,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
) => grpc.ClientReadableStream<Message>;

function callOnce(call: UnaryCall, replay: ReplayRequest): Promise<Replayed> {
  return new Promise((resolve, reject) => {
    const messages: Message[] = [];
    const metadata = new Headers();
    const running = call(replay.request, toMetadata(replay), toOptions(replay), (_error, message) => {
      if (message) messages.push(message);
    });
    running.on("metadata", (headers: grpc.Metadata) => keep(metadata, headers));
    running.on("status", (status: grpc.StatusObject) => resolve(toReplayed(status, messages, metadata)));
    giveUpLater(running, reject);
  });
}

function callStream(call: StreamCall, replay: ReplayRequest): Promise<Replayed> {
  return new Promise((resolve, reject) => {
    const messages: Message[] = [];
    const metadata = new Headers();
    const running = call(replay.request, toMetadata(replay), toOptions(replay));
    const hangUpAt = (count: number): void => {
      if (count !== replay.messagesMax) return;
      running.cancel();
      resolve({ code: "OK", messages, metadata, details: [] });
    };
    running.on("metadata", (headers: grpc.Metadata) => keep(metadata, headers));
    running.on("data", (message: Message) => hangUpAt(messages.push(message)));
    running.on("error", () => {}); // The status tells.
    running.on("status", (status: grpc.StatusObject) => resolve(toReplayed(status, messages, metadata)));
    giveUpLater(running, reject);
  });
}

type Running = grpc.ClientUnaryCall | grpc.ClientReadableStream<Message>;

function giveUpLater(call: Running, reject: (error: Error) => void): void {
  const timer = setTimeout(() => {
    reject(new Error(`no answer within ${patienceMs} ms`));
    call.cancel();
  }, patienceMs);
  call.once("status", () => clearTimeout(timer));
}

function toMetadata(replay: ReplayRequest): grpc.Metadata {
  const metadata = new grpc.Metadata();
  for (const [name, value] of replay.metadata) metadata.set(name, value);
  return metadata;
}

function toOptions({ deadlineMs }: ReplayRequest): grpc.CallOptions {
  return deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
}

function keep(headers: Headers, metadata: grpc.Metadata): void {
  for (const [name, value] of Object.entries(metadata.getMap())) {
    if (typeof value === "string") headers.append(name, value);
  }
}

function toReplayed(status: grpc.StatusObject, messages: readonly Message[], headers: Headers): Replayed {
  keep(headers, status.metadata);
  return { code: nameOfCode(status.code), messages, metadata: headers, details: readDetails(status) };
}

/** gRPC's own error details: a `google.rpc.Status` in a trailer. */
function readDetails({ metadata }: grpc.StatusObject): ErrorDetail[] {
  return metadata.get("grpc-status-details-bin").flatMap((bytes) =>
    typeof bytes === "string"
      ? []
      : fromBinary(StatusSchema, bytes).details.map(({ typeUrl, value }) => ({
          typeName: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
          value,
        })),
  );
}
