/** Makes valid requests out of nothing but the schema and its `buf.validate` rules. */
import {
  fromJson,
  getExtension,
  hasExtension,
  ScalarType,
  toBinary,
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  type Message,
} from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { v7 } from "uuid";
import { Ignore, oneof as oneofRules, type FieldRules } from "#libs/gen/buf/validate/validate_pb.ts";
import { encodedMessages, rulesOf, type WalkedMethod } from "./schema-walk.ts";

/** Values by a field's path, as `walkFields` names it; a list gets one item. */
export type Given = Readonly<Record<string, JsonValue>>;

const validator = createValidator();
/** Realistic values, of which the first that a pattern lets through is taken. */
const texts = ["For the record.", "permit"];

/**
 * A request with the values given, and with whatever else it takes to be valid. A request that writes is filled in; in one
 * that reads, what need not be there is left out, so that it picks by the given values alone. `undefined` when the rules
 * do not let the given values through.
 */
export function makeRequest(walked: WalkedMethod, given: Given = {}): Message | undefined {
  const { input } = walked.method;
  const message = fromJson(input, makeMessage(input, given, "", !walked.reads));
  const { kind, error } = validator.validate(input, message);
  if (kind === "error") throw error;
  if (kind === "invalid" && Object.keys(given).length === 0) {
    throw new Error(`${walked.name}: teach makeRequest this rule: ${error.message}`);
  }
  return kind === "valid" ? message : undefined;
}

/** Whether no request is valid without the field. */
export function isMandatory(walked: WalkedMethod, path: string): boolean {
  return makeRequest(walked, { [path]: "" }) === undefined;
}

function makeMessage(desc: DescMessage, given: Given, above: string, fill: boolean): JsonObject {
  const base = desc.typeName === "caseflow.event.v1.Event" ? makeEventJson() : {};
  const made: JsonObject = { ...base };
  for (const field of desc.fields) {
    const path = `${above}${field.name}`;
    const value = makeField(field, given, path, fill && Object.keys(base).length === 0);
    if (value !== undefined) made[field.name] = value;
  }
  for (const { fields, name } of desc.oneofs.filter(isRequired)) {
    const [first] = fields;
    if (first === undefined) throw new Error(`${desc.typeName}.${name} has no members`);
    if (!fields.some((field) => field.name in made)) made[first.name] = makeValue(first, rulesOf(first));
  }
  return made;
}

function isRequired(oneof: DescMessage["oneofs"][number]): boolean {
  const { options } = oneof.proto;
  return (
    options !== undefined && hasExtension(options, oneofRules) && getExtension(options, oneofRules).required
  );
}

function makeField(field: DescField, given: Given, path: string, fill: boolean): JsonValue | undefined {
  const below = Object.keys(given).some((key) => key.startsWith(`${path}.`));
  const value =
    given[path] ?? (below || isNeeded(field, fill) ? makeItem(field, given, path, fill) : undefined);
  return value !== undefined && field.fieldKind === "list" ? [value] : value;
}

/** Fields that may be left out of a filled request: those with presence, such as `expected_version`, and oneofs' members. */
function isNeeded(field: DescField, fill: boolean): boolean {
  const rules = rulesOf(field);
  if (rules?.required === true) return true;
  if (field.oneof !== undefined || field.proto.proto3Optional) return false;
  if (fill) return field.scalar !== undefined || field.enum !== undefined || field.fieldKind === "list";
  if (rules === undefined || rules.ignore !== Ignore.UNSPECIFIED) return false;
  switch (rules.type.case) {
    case "repeated":
      return rules.type.value.minItems > 0n;
    case "uint32":
    case "uint64":
      return rules.type.value.greaterThan.case !== undefined;
    case "string":
      return rules.type.value.wellKnown.case !== undefined || !matches("", rules.type.value.pattern);
    default:
      return false;
  }
}

function makeItem(field: DescField, given: Given, path: string, fill: boolean): JsonValue {
  const encoded = encodedMessages.get(`${field.parent.typeName}.${field.name}`);
  if (encoded) {
    const message = fromJson(encoded, makeMessage(encoded, given, `${path}.`, fill));
    return Buffer.from(toBinary(encoded, message)).toString("base64");
  }
  const rules = rulesOf(field);
  if (field.message && field.message.typeName.startsWith("google.protobuf.")) {
    return makeWellKnown(field.message, rules);
  }
  if (field.message) return makeMessage(field.message, given, `${path}.`, fill);
  return makeValue(field, rules?.type.case === "repeated" ? rules.type.value.items : rules);
}

function makeWellKnown({ typeName }: DescMessage, rules: FieldRules | undefined): JsonValue {
  if (rules?.type.case === "fieldMask") return rules.type.value.in[0] ?? "";
  if (typeName === "google.protobuf.Timestamp") return "2026-01-01T00:00:00Z";
  throw new Error(`teach makeRequest ${typeName}`);
}

function makeValue(field: DescField, rules: FieldRules | undefined): JsonValue {
  const type = rules?.type;
  if (type?.case === "enum") return type.value.in[0] ?? 1;
  if (field.enum) return 1;
  switch (field.scalar) {
    case ScalarType.STRING:
      return type?.case === "string" ? makeText(type.value) : (texts[0] ?? "");
    case ScalarType.UINT32:
    case ScalarType.UINT64:
      return 1;
    default:
      throw new Error(`teach makeRequest ${field.parent.typeName}.${field.name}`);
  }
}

function makeText(rules: Extract<FieldRules["type"], { case: "string" }>["value"]): string {
  if (rules.wellKnown.case === "uuid") return v7();
  const text = texts.find((candidate) => matches(candidate, rules.pattern));
  if (text === undefined) throw new Error(`teach makeRequest a text for ${rules.pattern}`);
  return text;
}

function matches(text: string, pattern: string): boolean {
  return new RegExp(pattern, "u").test(text);
}

/** The source that made events are of. */
export const attackSource = "attack/source";

/** An event that the audit service applies: the rules for it are in its code, and not in the schema. */
function makeEventJson(): JsonObject {
  return {
    event_id: v7(),
    source: attackSource,
    type: "attack.thing.changed",
    schema_version: 1,
    tenant_id: `lone-${v7()}`,
    subject: v7(),
    subject_sequence: 1,
    actor: { id: "mallory", kind: "ACTOR_KIND_PERSON", roles: ["clerk"] },
    occurred_at: "2026-01-01T00:00:00Z",
    recorded_at: "2026-01-01T00:00:01Z",
  };
}
