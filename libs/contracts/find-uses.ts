import type { DescEnum, DescField, DescMessage, DescMethod, Registry } from "@bufbuild/protobuf";

import type { Contract, Expected, ExpectedMessage } from "./contract.ts";
import { isMatcher } from "./match.ts";
import { isWellKnownFile } from "./view.ts";

/** What a contract touches of a schema. */
export interface Uses {
  readonly methods: Set<DescMethod>;
  /** A message may be used without a field of it. */
  readonly messages: Map<DescMessage, Set<DescField>>;
  /** Numbers of the values; zero always is among them. */
  readonly enums: Map<DescEnum, Set<number>>;
}

/** Finds the methods, fields and enum values that a contract names. Throws when the schema lacks one. */
export function findUses(contract: Pick<Contract, "interactions" | "events">, schema: Registry): Uses {
  const uses: Uses = { methods: new Set(), messages: new Map(), enums: new Map() };
  for (const { call, answer } of contract.interactions) {
    const method = findMethod(schema, call.method);
    uses.methods.add(method);
    useMessage(uses, method.input, call.request);
    useMessage(uses, method.output, {});
    if ("message" in answer) useMessage(uses, method.output, answer.message);
    if ("messages" in answer) for (const message of answer.messages) useMessage(uses, method.output, message);
  }
  for (const { message, which, fields } of contract.events) {
    const desc = findMessage(schema, message);
    useMessage(uses, desc, which);
    useMessage(uses, desc, fields);
  }
  return uses;
}

export function findMethod(schema: Registry, name: string): DescMethod {
  const [service = "", method = ""] = name.split("/");
  const found = schema.getService(service)?.methods.find((desc) => desc.name === method);
  if (found === undefined) throw new Error(`the schema has no method ${name}`);
  return found;
}

/** `package.Service/Method`, as contracts name it. */
export function nameOfMethod({ parent, name }: DescMethod): string {
  return `${parent.typeName}/${name}`;
}

export function findMessage(schema: Registry, typeName: string): DescMessage {
  const found = schema.getMessage(typeName);
  if (found === undefined) throw new Error(`the schema has no message ${typeName}`);
  return found;
}

function useMessage(uses: Uses, desc: DescMessage, expected: ExpectedMessage): void {
  if (isWellKnownFile(`${desc.file.name}.proto`)) return;
  const fields = uses.messages.get(desc) ?? new Set<DescField>();
  uses.messages.set(desc, fields);
  for (const [name, value] of Object.entries(expected)) {
    const field = desc.fields.find(({ jsonName }) => jsonName === name);
    if (field === undefined) throw new Error(`${desc.typeName} has no field ${name}`);
    fields.add(field);
    useField(uses, field, value);
  }
}

function useField(uses: Uses, field: DescField, value: Expected): void {
  const { enum: enumeration, message } = field;
  if (enumeration) useEnum(uses, enumeration, []);
  if (message) useMessage(uses, message, {});
  for (const single of field.fieldKind === "map" ? valuesOf(value).flatMap(mapValues) : valuesOf(value)) {
    if (enumeration) useEnum(uses, enumeration, [single]);
    // What stands in the place of a message is one, or a well-known type's text.
    if (message && typeof single === "object") useMessage(uses, message, single as ExpectedMessage);
  }
}

/** Every plain value that may stand there: of lists their elements, of matchers what they name and their example. */
function valuesOf(expected: Expected): readonly Expected[] {
  if (Array.isArray(expected)) return expected.flatMap(valuesOf);
  if (!isMatcher(expected)) return [expected];
  switch (expected.$match) {
    case "absent":
      return [];
    case "each":
      return valuesOf(expected.of);
    case "oneOf":
      return [...expected.values, expected.example];
    default:
      return valuesOf(expected.example);
  }
}

function mapValues(expected: Expected): readonly Expected[] {
  return typeof expected === "object" ? Object.values(expected).flatMap(valuesOf) : [];
}

function useEnum(uses: Uses, desc: DescEnum, names: readonly Expected[]): void {
  if (isWellKnownFile(`${desc.file.name}.proto`)) return;
  const numbers = uses.enums.get(desc) ?? new Set(desc.values.slice(0, 1).map(({ number }) => number));
  uses.enums.set(desc, numbers);
  for (const name of names) {
    const value = desc.values.find((candidate) => candidate.name === name || candidate.number === name);
    if (value === undefined) throw new Error(`${desc.typeName} has no value ${JSON.stringify(name)}`);
    numbers.add(value.number);
  }
}
