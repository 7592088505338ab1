import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  fromJson,
  toBinary,
  toJson,
  fromBinary,
  type DescService,
  type JsonObject,
  type JsonValue,
} from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";

/** Calls one unary method with a JSON message and gives back the answer as JSON, over whatever stands behind it. */
export type Driver = (
  server: { readonly url: string; readonly token: string },
  service: DescService,
  method: string,
  request: JsonObject,
) => Promise<JsonObject>;

const timeoutMs = 20_000;

/** `buf curl` as a person would use it: it learns the schema from the server by reflection. */
export function bufCurl(protocol: "grpc" | "grpcweb" | "connect"): Driver {
  return async ({ url, token }, service, method, request) => {
    const flags = protocol === "grpc" ? ["--http2-prior-knowledge"] : [];
    const child = spawn(
      "buf",
      [
        "curl",
        ...["--protocol", protocol],
        ...flags,
        ...["--header", `authorization: Bearer ${token}`],
        ...["--reflect-header", `authorization: Bearer ${token}`],
        ...["--data", JSON.stringify(request)],
        `${url}/${service.typeName}/${method}`,
      ],
      // It has ended before its garbage is worth collecting: that takes a quarter of its time.
      { stdio: ["ignore", "pipe", "pipe"], timeout: timeoutMs, env: { ...process.env, GOGC: "off" } },
    );
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (errors += chunk));
    const [code] = await once(child, "close");
    if (code !== 0) throw new Error(`buf curl ${method} ended with ${code}: ${errors}`);
    return JSON.parse(output);
  };
}

/** The gRPC implementation that we did not write and do not use elsewhere. */
export const grpcJs: Driver = async ({ url, token }, service, method, request) => {
  const description = service.methods.find(({ name }) => name === method);
  if (!description) throw new Error(`${service.typeName} has no method ${method}`);
  const { input, output } = description;
  const client = new grpc.Client(new URL(url).host, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  try {
    const answer = await new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest<Uint8Array, Buffer>(
        `/${service.typeName}/${method}`,
        (bytes) => Buffer.from(bytes),
        (bytes) => bytes,
        toBinary(input, fromJson(input, request)),
        metadata,
        { deadline: Date.now() + timeoutMs },
        (error, value) => (error || !value ? reject(error ?? new Error("no answer")) : resolve(value)),
      );
    });
    return asObject(toJson(output, fromBinary(output, answer)));
  } finally {
    client.close();
  }
};

function asObject(value: JsonValue): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("not an object");
  return value;
}
