import { readFile } from "node:fs/promises";
import { Ajv, type ErrorObject } from "ajv";
import { LineCounter, parseDocument, type Document } from "yaml";
import type { CommandOf } from "#services/case/domain/command.ts";

import { Failure } from "../failure.ts";
import schema from "./mapping.schema.json" with { type: "json" };
import { isTimeFormat, isTimeZone } from "./read-time.ts";

/** Text in which `{column}` stands for the row's cell of that name. */
export type Template = string;

export type ImportedAction =
  | "create"
  | "update"
  | "submit"
  | "assign_reviewer"
  | "start_review"
  | "approve"
  | "reject"
  | "appeal"
  | "start_appeal_review"
  | "approve_appeal"
  | "reject_appeal"
  | "override"
  | "close";

export interface Step {
  readonly do: ImportedAction;
  readonly reason?: Template;
  readonly legalAuthority?: Template;
  readonly target?: CommandOf<"override">["target"];
  readonly reviewer?: Template | { readonly nextActorOf: ImportedAction };
}

/** How the rows of a file become commands; `mapping.schema.json` says what each part means. */
export interface Mapping {
  readonly source: string;
  readonly format?: "csv" | "ndjson";
  readonly delimiter?: string;
  readonly case: Template;
  readonly row: Template;
  readonly action: Template;
  readonly actor: Template;
  readonly time: { readonly value: Template; readonly format?: string; readonly zone?: string };
  readonly caseType: string;
  readonly content: {
    readonly title: Template;
    readonly summary: Template;
    readonly people: readonly {
      readonly name: Template;
      readonly role: Template;
      readonly contact?: Template;
    }[];
  };
  readonly otherActions?: "fail" | "ignore";
  readonly actions: ReadonlyMap<string, Step | "ignore">;
}

/** What a mapping file holds, as its schema describes it. */
type MappingFile = Omit<Mapping, "actions"> & {
  readonly actions: Readonly<Record<string, Step | ImportedAction | "ignore">>;
};

const faultsMax = 10;
const bytesMax = 1024 * 1024;

/** Reads a mapping. Throws a `Failure` that names every fault, with file, line and column and what is allowed. */
export async function readMapping(path: string): Promise<Mapping> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new Failure(
      `the mapping cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  });
  if (text.length > bytesMax) throw new Failure(`${path}: a mapping has at most ${bytesMax} characters`);
  return parseMapping(path, text);
}

/** As `readMapping`, of the text of the file `path`. */
export function parseMapping(path: string, text: string): Mapping {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    fail(document.errors.map(({ pos, message }) => `${place(pos[0])}: ${message}`));
  }
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  const ajv = new Ajv({ allErrors: true, strict: true, strictTypes: false, strictRequired: false });
  const validate = ajv.compile<MappingFile>(schema);
  if (!validate(value)) {
    const faults = (validate.errors ?? []).filter(({ keyword }) => keyword !== "if");
    fail(faults.map((fault) => `${place(offsetOf(document, fault))}: ${describe(fault)}`));
  } else {
    const { format = "iso", zone = "UTC" } = value.time;
    const at = (key: string) => place(offsetAt(document, ["time", key]));
    if (!isTimeFormat(format)) {
      fail([
        `${at("format")}: must be iso, unix_seconds, unix_milliseconds, or a pattern with YYYY, MM and DD`,
      ]);
    }
    if (!isTimeZone(zone)) fail([`${at("zone")}: there is no time zone ${zone}`]);
    const actions = Object.entries(value.actions).map(([name, step]) => [name, toStep(step)] as const);
    return { ...value, actions: new Map(actions) };
  }
  throw new Error("unreachable");
}

function toStep(step: Step | ImportedAction | "ignore"): Step | "ignore" {
  return step === "ignore" || typeof step !== "string" ? step : { do: step };
}

function fail(faults: readonly string[]): never {
  const rest = faults.length - faultsMax;
  const more = rest > 0 ? [`and ${rest} more`] : [];
  throw new Failure(
    `the mapping is not understood:\n${[...new Set(faults)].slice(0, faultsMax).concat(more).join("\n")}`,
  );
}

function describe({ keyword, instancePath, params, message = "" }: ErrorObject): string {
  const name = instancePath === "" ? "the mapping" : keysOf(instancePath).join(".");
  switch (keyword) {
    case "enum":
      return `${name} must be one of ${(params["allowedValues"] as string[]).join(", ")}`;
    case "additionalProperties":
      return `${name} has no ${String(params["additionalProperty"])}`;
    case "required":
      return `${name} needs ${String(params["missingProperty"])}`;
    case "false schema":
      return `${name} is not for this action`;
    default:
      return `${name} ${message}`;
  }
}

function keysOf(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function offsetOf(document: Document, { instancePath, params }: ErrorObject): number {
  const path = keysOf(instancePath);
  const extra: unknown = params["additionalProperty"];
  return offsetAt(document, typeof extra === "string" ? [...path, extra] : path);
}

/** Where the value at `path` begins in the file, or the nearest thing around it that is there. */
function offsetAt(document: Document, path: readonly string[]): number {
  for (let length = path.length; length >= 0; length--) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (typeof node === "object" && node !== null && "range" in node && Array.isArray(node.range)) {
      return Number(node.range[0]);
    }
  }
  return 0;
}
