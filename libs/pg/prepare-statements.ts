import { isAnyArrayBuffer } from "node:util/types";
import type { Client } from "pg";
import type { Statement } from "./statement.ts";

/** A statement that the driver cannot choke on any more, once it has begun to send. */
export interface SendableStatement {
  readonly name: string;
  readonly text: string;
  readonly values: unknown[];
}

const nameBytesMax = 63;
/** The protocol counts parameters in 16 bits. */
const valuesMax = 65_535;

/** What each connection has parsed under which name, as far as it was sent from here. */
const textsByName = new WeakMap<Client, Map<string, string>>();

/**
 * Does all that could fail on this side before the first byte is sent: a statement that the driver drops halfway would
 * leave a COMMIT behind for the rest. Throws `TypeError`.
 */
export function prepareStatements(statements: readonly Statement[]): SendableStatement[] {
  return statements.map(({ name, text, values }) => {
    if (name === "" || Buffer.byteLength(name) > nameBytesMax) {
      throw new TypeError(`statement "${name}": a name has 1 to ${nameBytesMax} bytes`);
    }
    if (values.length > valuesMax) {
      throw new TypeError(`statement ${name}: ${values.length} values, at most ${valuesMax} can be sent`);
    }
    try {
      return { name, text, values: values.map(toParameter) };
    } catch (cause) {
      throw new TypeError(`statement ${name}: a value cannot be sent`, { cause });
    }
  });
}

/** Throws `TypeError` when a name goes with another text than before on this connection, or among `statements`. */
export function claimNames(client: Client, statements: readonly SendableStatement[]): void {
  let texts = textsByName.get(client);
  if (!texts) textsByName.set(client, (texts = new Map()));
  for (const { name, text } of statements) {
    const known = texts.get(name);
    if (known === undefined) texts.set(name, text);
    else if (known !== text) throw new TypeError(`statement ${name}: the name is taken by another text`);
  }
}

function toParameter(value: unknown): unknown {
  switch (typeof value) {
    case "string":
    case "number":
    case "bigint":
    case "boolean":
    case "undefined":
      return value;
    case "object":
      return toObjectParameter(value);
    default:
      throw new TypeError(`a ${typeof value} is no SQL value`);
  }
}

function toObjectParameter(value: object | null): unknown {
  if (value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(toParameter);
  if (isAnyArrayBuffer(value)) throw new TypeError("an ArrayBuffer is no SQL value, a Uint8Array is");
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new TypeError("an invalid Date is no SQL value");
    return value;
  }
  return JSON.stringify(value);
}
