/** Puts what does not belong there into any field of a request, as the schema has them. */
import {
  fromJson,
  ScalarType,
  toBinary,
  toJson,
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  type Message,
} from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { isWellKnown } from "./schema-walk.ts";

/** A field of a message, or of a message in it: the way down to it. */
export type FieldPath = readonly [DescField, ...DescField[]];

/** Every field at the end of a way through messages; of times and masks those within as well. */
export function walkPaths(message: DescMessage): readonly FieldPath[] {
  return message.fields.flatMap((field): readonly FieldPath[] =>
    field.message === undefined
      ? [[field]]
      : walkPaths(field.message).map((rest) => [field, ...rest] as const),
  );
}

export const nameOf = (path: FieldPath): string => path.map(({ name }) => name).join(".");
export const endOf = (path: FieldPath): DescField => path.at(-1) ?? path[0];
export const isText = (path: FieldPath): boolean => endOf(path).scalar === ScalarType.STRING;

/** Whether JSON writes the field out under its name: times and masks have a form of their own there. */
export function isWritten(path: FieldPath): boolean {
  return path.every(({ message }) => message === undefined || !isWellKnown(message));
}

/** A value, and where it is to be put, whatever the rules say. A list gets it as its one item. */
export type Planted = readonly [FieldPath, string | bigint | number];

/** The encoded message with other values in it. */
export function withValues(message: Message, desc: DescMessage, ...planted: readonly Planted[]): Buffer {
  const copy = reflect(desc, fromJson(desc, toJson(desc, message)));
  for (const [path, value] of planted) plant(copy, path, value);
  return Buffer.from(toBinary(desc, copy.message));
}

function plant(message: ReflectMessage, [field, ...rest]: FieldPath, value: Planted[1]): void {
  const [next, ...others] = rest;
  const plantIn = (inner: ReflectMessage): ReflectMessage => {
    if (next !== undefined) plant(inner, [next, ...others], value);
    return inner;
  };
  switch (field.fieldKind) {
    case "scalar":
      message.set(field, value);
      return;
    case "message":
      message.set(field, plantIn(message.get(field)));
      return;
    case "list": {
      const list = message.get(field);
      list.clear();
      list.add(field.message === undefined ? value : plantIn(reflect(field.message)));
      return;
    }
    default:
      throw new Error(`${field.name}: teach this fixture to attack a ${field.fieldKind}`);
  }
}

/** The message as JSON text, with `raw` as it is written for a value at the end of `path`. */
export function withJson(message: Message, desc: DescMessage, path: FieldPath, raw: string): string {
  const json = toJson(desc, message, { useProtoFieldName: true });
  const place = "6e4f0a6c-the-place";
  const planted = plantJson(asObject(json), path, place);
  return JSON.stringify(planted).replace(JSON.stringify(place), () => raw);
}

function plantJson(json: JsonObject, [field, ...rest]: FieldPath, value: string): JsonObject {
  const [next, ...others] = rest;
  const siblings = new Set(field.oneof?.fields.map(({ name }) => name));
  const kept = Object.fromEntries(Object.entries(json).filter(([name]) => !siblings.has(name)));
  if (next === undefined) return { ...kept, [field.name]: field.fieldKind === "list" ? [value] : value };
  const before = kept[field.name];
  const inner = Array.isArray(before) ? before[0] : before;
  const planted = plantJson(asObject(inner ?? {}), [next, ...others], value);
  return { ...kept, [field.name]: field.fieldKind === "list" ? [planted] : planted };
}

function asObject(value: JsonValue): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("not an object");
  return value;
}
