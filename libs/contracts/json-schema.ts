export type JsonSchema = { readonly [keyword: string]: unknown };

/** Keywords that describe and do not judge. */
const notes = new Set(["$schema", "$defs", "title", "description"]);

/**
 * Holds `value` to a schema of JSON Schema 2020-12 and returns its faults, each beginning with the place. Knows the part of
 * it that `contract.schema.json` uses; throws on a keyword that it does not know, rather than pass it over.
 */
export function findSchemaFaults(schema: JsonSchema, value: unknown): readonly string[] {
  return judge(schema, schema, value, "");
}

function judge(root: JsonSchema, schema: JsonSchema, value: unknown, place: string): readonly string[] {
  const within = (part: unknown, inner: unknown, at: string) => judge(root, asSchema(part), inner, at);
  const fault = (text: string) => [`${place === "" ? "it" : place} ${text}`];
  return Object.entries(schema).flatMap(([keyword, rule]): readonly string[] => {
    if (notes.has(keyword)) return [];
    switch (keyword) {
      case "$ref":
        return within(resolve(root, String(rule)), value, place);
      case "type":
        return [rule].flat().includes(typeOf(value)) ||
          ([rule].flat().includes("integer") && isInteger(value))
          ? []
          : fault(`is no ${[rule].flat().join(" or ")}`);
      case "const":
        return value === rule ? [] : fault(`is not ${JSON.stringify(rule)}`);
      case "enum":
        return asArray(rule).includes(value) ? [] : fault(`is none of ${asArray(rule).join(", ")}`);
      case "required":
        return asArray(rule).flatMap((name) =>
          isObject(value) && !(String(name) in value) ? fault(`lacks ${String(name)}`) : [],
        );
      case "properties":
        return Object.entries(asSchema(rule)).flatMap(([name, part]) =>
          isObject(value) && name in value ? within(part, value[name], join(place, name)) : [],
        );
      case "additionalProperties":
        return others(schema, value).flatMap(([name, inner]) =>
          rule === false ? fault(`has ${name}, which it may not`) : within(rule, inner, join(place, name)),
        );
      case "propertyNames":
        return Object.keys(isObject(value) ? value : {}).flatMap((name) =>
          within(rule, name, `name ${name}`),
        );
      case "items":
        return Array.isArray(value)
          ? value.flatMap((item, index) => within(rule, item, `${place}[${index}]`))
          : [];
      case "oneOf":
        return judgeOneOf(asArray(rule), value, (part) => within(part, value, place), fault);
      case "pattern":
        return typeof value !== "string" || new RegExp(String(rule), "u").test(value)
          ? []
          : fault(`does not fit ${String(rule)}`);
      case "minLength":
      case "minItems":
        return lengthOf(value) >= Number(rule) ? [] : fault("is too short");
      case "maxLength":
      case "maxItems":
        return !(lengthOf(value) > Number(rule)) || lengthOf(value) === Infinity ? [] : fault("is too long");
      case "minimum":
        return typeof value !== "number" || value >= Number(rule) ? [] : fault("is too small");
      default:
        throw new Error(`the schema has the keyword ${keyword}, which is not known here`);
    }
  });
}

function judgeOneOf(
  parts: readonly unknown[],
  value: unknown,
  faultsOf: (part: unknown) => readonly string[],
  fault: (text: string) => readonly string[],
): readonly string[] {
  const judged = parts.map(faultsOf);
  const fitting = judged.filter((faults) => faults.length === 0).length;
  if (fitting === 1) return [];
  if (fitting > 1) return fault("fits more than one of what it may be");
  const nearest = judged.toSorted((a, b) => a.length - b.length)[0] ?? [];
  return [...fault(`fits nothing that it may be: ${JSON.stringify(value)?.slice(0, 80)}`), ...nearest];
}

/** Properties that the schema does not name. */
function others(schema: JsonSchema, value: unknown): readonly [string, unknown][] {
  const named = asSchema(schema["properties"] ?? {});
  return Object.entries(isObject(value) ? value : {}).filter(([name]) => !(name in named));
}

function resolve(root: JsonSchema, ref: string): unknown {
  const [, name] = /^#\/\$defs\/(\w+)$/.exec(ref) ?? [];
  const found = asSchema(root["$defs"] ?? {})[name ?? ""];
  if (found === undefined) throw new Error(`the schema refers to ${ref}, which it has not`);
  return found;
}

/** A number without a length passes every limit of length. */
function lengthOf(value: unknown): number {
  return typeof value === "string" || Array.isArray(value) ? value.length : Infinity;
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function isInteger(value: unknown): boolean {
  return Number.isInteger(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asSchema(value: unknown): JsonSchema {
  if (!isObject(value)) throw new Error("a part of the schema is no object");
  return value;
}

function asArray(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error("a part of the schema is no list");
  return value;
}

function join(place: string, name: string): string {
  return place === "" ? name : `${place}.${name}`;
}
