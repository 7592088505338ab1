import type {
  DescEnum,
  DescField,
  DescMessage,
  DescMethod,
  FileRegistry,
  Registry,
} from "@bufbuild/protobuf";
import {
  FeatureSet_FieldPresence,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_TypeSchema,
} from "@bufbuild/protobuf/wkt";

import { isWellKnownFile } from "./view.ts";

/** Something of a contract that a provider's schema does not keep to. */
export interface Incompatibility {
  /** Full name of what the consumer uses, such as `caseflow.cases.v1.Case.state`. */
  readonly element: string;
  readonly problem: string;
}

/**
 * Compares a consumer's view with a provider's schema: every method, field and value of the view must be there, with the same
 * number, name, type, cardinality and presence. What else the provider has is nobody's business.
 */
export function compareView(view: FileRegistry, provider: Registry): readonly Incompatibility[] {
  return [...view].flatMap((desc): readonly Incompatibility[] => {
    if (isWellKnownFile(`${desc.kind === "extension" ? "" : desc.file.name}.proto`)) return [];
    switch (desc.kind) {
      case "service": {
        const other = provider.getService(desc.typeName);
        return desc.methods.flatMap((method) =>
          compareMethod(
            method,
            other?.methods.find(({ name }) => name === method.name),
          ),
        );
      }
      case "message":
        return compareMessage(desc, provider.getMessage(desc.typeName));
      case "enum":
        return compareEnum(desc, provider.getEnum(desc.typeName));
      case "extension":
        return []; // Views have none.
      default:
        return desc satisfies never;
    }
  });
}

function compareMethod(method: DescMethod, other: DescMethod | undefined): readonly Incompatibility[] {
  const element = `${method.parent.typeName}/${method.name}`;
  if (other === undefined) return [{ element, problem: "is missing" }];
  return compareFacts(element, [
    ["kind", method.methodKind, other.methodKind],
    ["request", method.input.typeName, other.input.typeName],
    ["answer", method.output.typeName, other.output.typeName],
  ]);
}

function compareMessage(message: DescMessage, other: DescMessage | undefined): readonly Incompatibility[] {
  if (other === undefined) {
    const fields = message.fields.map(({ name }) => ({
      element: `${message.typeName}.${name}`,
      problem: "is missing with its message",
    }));
    return fields.length > 0 ? fields : [{ element: message.typeName, problem: "is missing" }];
  }
  return message.fields.flatMap((field) => {
    const element = `${message.typeName}.${field.name}`;
    const found = other.fields.find(({ number }) => number === field.number);
    if (found === undefined) {
      const moved = other.fields.find(({ name }) => name === field.name);
      const problem = moved ? `has number ${moved.number} instead of ${field.number}` : "is missing";
      return [{ element, problem }];
    }
    return compareFacts(element, [
      ["name", field.name, found.name],
      ["JSON name", field.jsonName, found.jsonName],
      ["type", typeOf(field), typeOf(found)],
      ["presence", presenceOf(field), presenceOf(found)],
    ]);
  });
}

function compareEnum(desc: DescEnum, other: DescEnum | undefined): readonly Incompatibility[] {
  return desc.values.flatMap(({ name, number }) => {
    const found = other?.values.filter((value) => value.number === number) ?? [];
    const element = `${desc.typeName}.${name}`;
    if (found.length === 0) return [{ element, problem: "is missing" }];
    return found.some((value) => value.name === name)
      ? []
      : [{ element, problem: `is called ${found[0]?.name} instead` }];
  });
}

function compareFacts(
  element: string,
  facts: readonly (readonly [what: string, wanted: string, actual: string])[],
): readonly Incompatibility[] {
  return facts
    .filter(([, wanted, actual]) => wanted !== actual)
    .map(([what, wanted, actual]) => ({ element, problem: `its ${what} is ${actual} instead of ${wanted}` }));
}

/** As a schema writes it. */
function typeOf(field: DescField): string {
  const { type, label } = field.proto;
  const scalar = FieldDescriptorProto_TypeSchema.value[type]?.name.replace("TYPE_", "").toLowerCase();
  const name = field.message?.typeName ?? field.enum?.typeName ?? scalar ?? `type ${type}`;
  if (field.fieldKind === "map") return `map of ${field.mapKey} to ${field.scalar ?? name}`;
  return label === FieldDescriptorProto_Label.REPEATED ? `repeated ${name}` : name;
}

function presenceOf({ fieldKind, oneof, presence }: DescField): string {
  if (fieldKind === "list" || fieldKind === "map") return "a list's";
  if (oneof !== undefined) return `one of ${oneof.name}`;
  switch (presence) {
    case FeatureSet_FieldPresence.EXPLICIT:
      return "explicit";
    case FeatureSet_FieldPresence.IMPLICIT:
      return "implicit";
    default:
      return "required";
  }
}
