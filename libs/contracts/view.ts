import {
  createFileRegistry,
  create,
  fromJson,
  type DescFile,
  type FileRegistry,
  type JsonValue,
} from "@bufbuild/protobuf";
import {
  file_google_protobuf_any,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

import type { Contract } from "./contract.ts";

/** Every language brings these along, so a view may leave them out. */
const wellKnown: readonly DescFile[] = [
  file_google_protobuf_any,
  file_google_protobuf_duration,
  file_google_protobuf_empty,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
];

export const isWellKnownFile = (name: string): boolean => name.startsWith("google/protobuf/");

/** The descriptors that a contract brings along. Throws when they are none, or lack a file. */
export function openView(contract: Pick<Contract, "view">): FileRegistry {
  // `Json` is `JsonValue` with its lists and objects read-only; it is not written to.
  const { file } = fromJson(FileDescriptorSetSchema, contract.view as JsonValue);
  const named = new Map(
    [...wellKnown.map(({ proto }) => proto), ...file].map((proto) => [proto.name, proto] as const),
  );
  return createFileRegistry(create(FileDescriptorSetSchema, { file: inOrder(file, named) }));
}

/** Each file after those that it needs. */
export function inOrder(
  files: readonly FileDescriptorProto[],
  named: ReadonlyMap<string, FileDescriptorProto>,
): FileDescriptorProto[] {
  const ordered = new Set<FileDescriptorProto>();
  const visit = (proto: FileDescriptorProto): void => {
    for (const name of proto.dependency) {
      const needed = named.get(name);
      if (needed === undefined) throw new Error(`${proto.name} needs ${name}, which is missing`);
      if (!ordered.has(needed)) visit(needed);
    }
    ordered.add(proto);
  };
  for (const proto of files) visit(proto);
  return [...ordered];
}
