import type { AnyDesc, DescExtension, DescFile, DescMessage } from "@bufbuild/protobuf";

/** Finds files by what they define. Names are fully qualified, without a leading dot. */
export interface DescriptorIndex {
  /** Of the files that were given, not of those that they import. */
  readonly services: readonly string[];
  /** By name, `google/rpc/status.proto`. */
  readonly files: ReadonlyMap<string, DescFile>;
  /** By message, field, oneof, enum, enum value, extension, service or method. */
  readonly bySymbol: ReadonlyMap<string, DescFile>;
  /** By the extended message, then by field number; each message of the files is there, extended or not. */
  readonly extensions: ReadonlyMap<string, ReadonlyMap<number, DescFile>>;
}

/** Indexes `roots` and all that they import. */
export function indexDescriptors(roots: readonly DescFile[]): DescriptorIndex {
  const files = new Map<string, DescFile>();
  for (const root of roots) collect(root, files);
  const bySymbol = new Map<string, DescFile>();
  const extensions = new Map<string, Map<number, DescFile>>();
  for (const file of files.values()) {
    for (const desc of definitionsOf(file)) {
      bySymbol.set(nameOf(desc), file);
      if (desc.kind === "message" && !extensions.has(desc.typeName)) extensions.set(desc.typeName, new Map());
      if (desc.kind === "extension") extend(extensions, desc, file);
    }
  }
  const services = roots.flatMap((file) => file.services.map(({ typeName }) => typeName));
  return { services: [...new Set(services)].toSorted(), files, bySymbol, extensions };
}

function collect(file: DescFile, files: Map<string, DescFile>): void {
  if (files.has(file.proto.name)) return;
  files.set(file.proto.name, file);
  for (const dependency of file.dependencies) collect(dependency, files);
}

function extend(extensions: Map<string, Map<number, DescFile>>, desc: DescExtension, file: DescFile): void {
  const numbers = extensions.get(desc.extendee.typeName) ?? new Map<number, DescFile>();
  extensions.set(desc.extendee.typeName, numbers.set(desc.number, file));
}

type Definition = Exclude<AnyDesc, DescFile>;

function definitionsOf(file: DescFile): Definition[] {
  const enums = [...file.enums, ...file.messages.flatMap(nestedEnums)];
  return [
    ...file.messages.flatMap(withMembers),
    ...enums.flatMap((desc) => [desc, ...desc.values]),
    ...file.extensions,
    ...file.services.flatMap((desc) => [desc, ...desc.methods]),
  ];
}

function withMembers(desc: DescMessage): Definition[] {
  const { fields, oneofs, nestedMessages, nestedExtensions } = desc;
  return [desc, ...fields, ...oneofs, ...nestedExtensions, ...nestedMessages.flatMap(withMembers)];
}

function nestedEnums(desc: DescMessage): DescMessage["nestedEnums"] {
  return [...desc.nestedEnums, ...desc.nestedMessages.flatMap(nestedEnums)];
}

function nameOf(desc: Definition): string {
  switch (desc.kind) {
    case "message":
    case "enum":
    case "extension":
    case "service":
      return desc.typeName;
    case "enum_value":
      // The scope of an enum's values is the one that the enum is in.
      return desc.parent.typeName.replace(/[^.]+$/, desc.name);
    case "field":
    case "oneof":
    case "rpc":
      return `${desc.parent.typeName}.${desc.name}`;
    default:
      throw new Error("a new kind of descriptor", { cause: desc satisfies never });
  }
}
