import { createReadStream } from "node:fs";
import { parse } from "csv-parse";

import { Failure } from "../failure.ts";

/** A row as it stands in the file: an object, or why it cannot be read. */
export interface FileRow {
  /** From 1; of a CSV, not counting its header. */
  readonly row: number;
  readonly value: Readonly<Record<string, unknown>> | undefined;
  readonly fault: string;
}

const recordBytesMax = 1024 * 1024;
const columnsMax = 1_000;

/** Reads a file row by row, whatever its size. Throws a `Failure` where the file as such cannot be read on. */
export function readRows(path: string, format: "csv" | "ndjson", delimiter = ","): AsyncGenerator<FileRow> {
  return format === "csv" ? readCsv(path, delimiter) : readNdjson(path);
}

/** RFC 4180, with a header; a row with other than the header's number of cells is at fault alone. */
async function* readCsv(path: string, delimiter: string): AsyncGenerator<FileRow> {
  const parser = parse({ bom: true, delimiter, relax_column_count: true, max_record_size: recordBytesMax });
  const file = createReadStream(path);
  file.on("error", (error) => parser.destroy(error));
  let header: readonly string[] | undefined;
  let row = 0;
  try {
    for await (const cells of file.pipe(parser) as AsyncIterable<string[]>) {
      if (header === undefined) {
        header = readHeader(path, cells);
        continue;
      }
      row += 1;
      if (cells.length !== header.length) {
        const fault = `it has ${cells.length} cells, and the header ${header.length}`;
        yield { row, value: undefined, fault };
        continue;
      }
      yield { row, value: Object.fromEntries(header.map((name, at) => [name, cells[at]])), fault: "" };
    }
  } catch (error) {
    throw unreadable(path, row, error);
  } finally {
    file.destroy();
  }
}

function readHeader(path: string, cells: readonly string[]): readonly string[] {
  if (cells.length > columnsMax) throw new Failure(`${path} has more than ${columnsMax} columns`);
  const doubled = cells.find((name, at) => cells.indexOf(name) !== at);
  if (doubled !== undefined) throw new Failure(`${path} has two columns called ${doubled}`);
  return cells;
}

async function* readNdjson(path: string): AsyncGenerator<FileRow> {
  let row = 0;
  try {
    for await (const line of readLines(path)) {
      row += 1;
      if (line.trim() === "") {
        row -= 1;
        continue;
      }
      yield { row, ...readObject(line) };
    }
  } catch (error) {
    throw unreadable(path, row, error);
  }
}

/** Lines of at most `recordBytesMax` characters: what is longer would be held whole. */
async function* readLines(path: string): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of createReadStream(path, "utf8") as AsyncIterable<string>) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
    if (rest.length > recordBytesMax) throw new Error(`a line is longer than ${recordBytesMax} characters`);
  }
  if (rest !== "") yield rest;
}

function readObject(line: string): Omit<FileRow, "row"> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return { value: value as Record<string, unknown>, fault: "" }; // A JSON object's keys are strings.
    }
    return { value: undefined, fault: "it is no JSON object" };
  } catch {
    return { value: undefined, fault: "it is no JSON" };
  }
}

function unreadable(path: string, row: number, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new Failure(`${path} cannot be read on after row ${row}: ${message}`, { cause: error });
}
