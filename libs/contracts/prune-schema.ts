import { create, type DescEnum, type DescFile, type DescMessage, type DescService } from "@bufbuild/protobuf";
import {
  DescriptorProtoSchema,
  Edition,
  EnumDescriptorProtoSchema,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  MethodDescriptorProtoSchema,
  ServiceDescriptorProtoSchema,
  type DescriptorProto,
  type EnumDescriptorProto,
  type FileDescriptorProto,
  type FileDescriptorSet,
  type ServiceDescriptorProto,
} from "@bufbuild/protobuf/wkt";

import type { Uses } from "./find-uses.ts";
import { inOrder, isWellKnownFile } from "./view.ts";

/**
 * Cuts a schema down to what is used of it: names, numbers, types, cardinality, presence and JSON names stay; options,
 * comments and everything else go. The result is a complete descriptor set but for the well-known types.
 */
export function pruneSchema(uses: Uses): FileDescriptorSet {
  const files = new Set<DescFile>();
  for (const { parent } of uses.methods) files.add(parent.file);
  for (const { file } of uses.messages.keys()) files.add(file);
  for (const { file } of uses.enums.keys()) files.add(file);
  const pruned = [...files]
    .map((file) => pruneFile(file, uses))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const named = new Map(pruned.map((proto) => [proto.name, proto]));
  for (const proto of pruned) {
    for (const name of proto.dependency.filter(isWellKnownFile)) {
      named.set(name, create(FileDescriptorProtoSchema, { name }));
    }
  }
  const file = inOrder(pruned, named).filter(({ name }) => !isWellKnownFile(name));
  return create(FileDescriptorSetSchema, { file });
}

function pruneFile(file: DescFile, uses: Uses): FileDescriptorProto {
  const { name, package: packageName, syntax, edition, options } = file.proto;
  return create(FileDescriptorProtoSchema, {
    name,
    package: packageName,
    dependency: [...findDependencies(file, uses)].toSorted(),
    messageType: file.messages.flatMap((message) => pruneMessage(message, uses)),
    enumType: file.enums.flatMap((desc) => pruneEnum(desc, uses)),
    service: file.services.flatMap((service) => pruneService(service, uses)),
    syntax,
    ...(edition !== Edition.EDITION_UNKNOWN && { edition }),
    ...(options?.features && { options: { features: options.features } }),
  });
}

/** Of used fields and methods; a file does not depend on itself. */
function findDependencies(file: DescFile, uses: Uses): Set<string> {
  const needed = new Set<DescFile>();
  for (const { input, output, parent } of uses.methods) {
    if (parent.file === file) needed.add(input.file).add(output.file);
  }
  for (const [message, fields] of uses.messages) {
    if (message.file !== file) continue;
    for (const field of fields) {
      const type = field.message ?? field.enum;
      if (type) needed.add(type.file);
    }
  }
  needed.delete(file);
  return new Set(Array.from(needed, ({ proto }) => proto.name));
}

/** Nothing where neither the message nor one inside it is used. */
function pruneMessage(message: DescMessage, uses: Uses): DescriptorProto[] {
  const used = uses.messages.get(message);
  const nestedType = message.nestedMessages.flatMap((nested) => pruneMessage(nested, uses));
  const enumType = message.nestedEnums.flatMap((nested) => pruneEnum(nested, uses));
  if (used === undefined && nestedType.length === 0 && enumType.length === 0) return [];
  const fields = message.fields.filter((field) => used?.has(field));
  const maps = message.proto.nestedType.filter(
    ({ options, name }) =>
      options?.mapEntry && fields.some(({ proto }) => proto.typeName.endsWith(`.${message.name}.${name}`)),
  );
  // A synthetic oneof of an optional field among them.
  const oneofs = message.proto.oneofDecl.filter((_, index) =>
    fields.some(({ proto }) => proto.oneofIndex === index && isInOneof(proto)),
  );
  return [
    create(DescriptorProtoSchema, {
      name: message.proto.name,
      field: fields.map(({ proto }) => {
        const { name, number, label, type, typeName, jsonName, proto3Optional, options } = proto;
        const oneof = message.proto.oneofDecl[proto.oneofIndex];
        return create(FieldDescriptorProtoSchema, {
          name,
          number,
          label,
          type,
          jsonName,
          ...(typeName !== "" && { typeName }),
          ...(proto3Optional && { proto3Optional }),
          ...(isInOneof(proto) && oneof && { oneofIndex: oneofs.indexOf(oneof) }),
          ...(options?.features && { options: { features: options.features } }),
        });
      }),
      nestedType: [...nestedType, ...maps],
      enumType,
      oneofDecl: oneofs.map(({ name }) => ({ name })),
    }),
  ];
}

/** `oneofIndex` is 0 both in the first oneof and in none; presence of the field in the descriptor tells them apart. */
function isInOneof(proto: object): boolean {
  return Object.hasOwn(proto, "oneofIndex");
}

function pruneEnum(desc: DescEnum, uses: Uses): EnumDescriptorProto[] {
  const used = uses.enums.get(desc);
  if (used === undefined) return [];
  return [
    create(EnumDescriptorProtoSchema, {
      name: desc.proto.name,
      value: desc.values
        .filter(({ number }) => used.has(number))
        .map(({ name, number }) => ({ name, number })),
      ...(desc.proto.options?.allowAlias && { options: { allowAlias: true } }),
    }),
  ];
}

function pruneService(service: DescService, uses: Uses): ServiceDescriptorProto[] {
  const methods = service.methods.filter((method) => uses.methods.has(method));
  if (methods.length === 0) return [];
  return [
    create(ServiceDescriptorProtoSchema, {
      name: service.proto.name,
      method: methods.map(({ proto }) => {
        const { name, inputType, outputType, clientStreaming, serverStreaming } = proto;
        return create(MethodDescriptorProtoSchema, {
          name,
          inputType,
          outputType,
          ...(clientStreaming && { clientStreaming }),
          ...(serverStreaming && { serverStreaming }),
        });
      }),
    }),
  ];
}
