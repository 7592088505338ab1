/** What the schema says about every method and every field of a request: tests that walk it miss nothing that is added. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  getExtension,
  hasExtension,
  ScalarType,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescService,
} from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import { field as fieldRules, type FieldRules } from "#libs/gen/buf/validate/validate_pb.ts";
import { authz } from "#libs/gen/caseflow/options/v1/authz_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";

export interface WalkedMethod {
  /** `CaseService.GetCase`. */
  readonly name: string;
  /** Which service serves it. */
  readonly server: "case" | "audit";
  readonly method: DescMethod;
  /** Any of these may call it. */
  readonly roles: readonly string[];
  /** The message and not the token tells the tenant. */
  readonly tenantFromMessage: boolean;
  /** It has no side effects. */
  readonly reads: boolean;
}

/** Messages that travel encoded, by the field of bytes that holds them. A field that is not here is not understood. */
export const encodedMessages: ReadonlyMap<string, DescMessage> = new Map([
  ["caseflow.audit.v1.RecordEventsRequest.events", EventSchema],
]);

const generated = fileURLToPath(new URL("../../libs/gen/caseflow", import.meta.url));

/** Every method of every service in our generated code. */
export async function walkMethods(): Promise<readonly WalkedMethod[]> {
  const names = await readdir(generated, { recursive: true });
  const modules = await Promise.all(
    names
      .filter((name) => name.endsWith("_pb.ts"))
      .toSorted()
      .map((name) => import(join(generated, name)) as Promise<Record<string, unknown>>),
  );
  const services = modules.flatMap((module) => Object.values(module).filter(isService));
  return services.flatMap((service) => service.methods.map(toWalkedMethod));
}

function isService(value: unknown): value is DescService {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "service";
}

function toWalkedMethod(method: DescMethod): WalkedMethod {
  const { options } = method.proto;
  const rule = options && hasExtension(options, authz) ? getExtension(options, authz) : undefined;
  return {
    name: `${method.parent.name}.${method.name}`,
    server: method.parent.typeName.startsWith("caseflow.audit.") ? "audit" : "case",
    method,
    roles: rule?.roles ?? [],
    tenantFromMessage: rule?.tenantFromMessage ?? false,
    reads: method.idempotency === Level.NO_SIDE_EFFECTS,
  };
}

/** A field somewhere in a request, down through messages and through messages that travel encoded. */
export interface WalkedField {
  /** `filter.request_id`: names joined by dots; lists leave no trace. */
  readonly path: string;
  readonly field: DescField;
}

/** Every field of a message that holds no message itself. */
export function walkFields(message: DescMessage, above = ""): readonly WalkedField[] {
  return message.fields.flatMap((field) => {
    const path = `${above}${field.name}`;
    const inner = innerMessage(field);
    if (inner === undefined) return [{ path, field }];
    return isWellKnown(inner) ? [] : walkFields(inner, `${path}.`);
  });
}

/** The message that a field holds, encoded or not. */
export function innerMessage(field: DescField): DescMessage | undefined {
  const encoded = encodedMessages.get(`${field.parent.typeName}.${field.name}`);
  return encoded ?? field.message;
}

/** Times and masks: they hold no ids. */
export function isWellKnown(message: DescMessage): boolean {
  return message.typeName.startsWith("google.protobuf.");
}

/** Whether what a field holds is a number that counts something, or text. */
export function holdsNumbers(field: DescField): boolean {
  return field.scalar !== undefined && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BOOL;
}

/**
 * Whether a caller can name something by the field. Of a request that reads: every text and every count but the page's
 * size, since all of them pick. Of one that writes: UUIDs, and what is called an id or a token.
 */
export function canHoldId({ reads }: WalkedMethod, { field }: WalkedField): boolean {
  if (field.scalar === ScalarType.BYTES) return false;
  if (field.name === "page_size" || field.enum !== undefined) return false;
  if (reads) return field.scalar !== ScalarType.BOOL;
  return (
    field.scalar === ScalarType.STRING && (wantsUuid(field) || /(^|_)(ids?|token|subject)$/.test(field.name))
  );
}

/** Whether the field takes nothing but UUIDs. */
export function wantsUuid(field: DescField): boolean {
  const rules = rulesOf(field);
  const ofItem = rules?.type.case === "repeated" ? rules.type.value.items : rules;
  return ofItem?.type.case === "string" && ofItem.type.value.wellKnown.case === "uuid";
}

/** The field's `buf.validate` rules. */
export function rulesOf({ proto: { options } }: DescField): FieldRules | undefined {
  return options && hasExtension(options, fieldRules) ? getExtension(options, fieldRules) : undefined;
}
