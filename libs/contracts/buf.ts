import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";

import { createFileRegistry, fromBinary, type FileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const timeoutMs = 120_000;
const outputBytesMax = 64 * 1024 * 1024;

export interface Break {
  /** buf's name of the rule, such as `FIELD_NO_DELETE`. */
  readonly rule: string;
  readonly file: string;
  readonly message: string;
}

/** Builds a folder of schemas into an image, offline. Throws with what buf says is wrong in them. */
export async function buildImage(protoFolder: string, image: string): Promise<void> {
  const { code, output } = await buf("build", protoFolder, "-o", image);
  if (code !== 0) throw new Error(output);
}

export async function readImage(image: string): Promise<FileRegistry> {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, await readFile(image)));
}

/** Compares two images by buf's rules of some categories. `ignore` are paths in the image that are somebody else's. */
export async function findBreaks(
  present: string,
  against: string,
  rules: { readonly use: readonly ("FILE" | "WIRE_JSON")[]; readonly ignore: readonly string[] },
): Promise<readonly Break[]> {
  const config = JSON.stringify({ version: "v2", breaking: rules });
  const flags = ["--config", config, "--error-format", "json"];
  const { code, output } = await buf("breaking", present, "--against", against, ...flags);
  if (code !== 0 && code !== breaksFound) throw new Error(output);
  const breaks = output.split("\n").filter((line) => line.startsWith("{"));
  if (code === breaksFound && breaks.length === 0) throw new Error(`buf tells no break it found: ${output}`);
  return breaks.map((line) => {
    const { type, path, message } = JSON.parse(line);
    return { rule: type, file: path ?? "", message };
  });
}

/** buf's exit code when it has found breaks. */
const breaksFound = 100;

function buf(...args: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((done) => {
    const child = execFile(
      "buf",
      args,
      { timeout: timeoutMs, maxBuffer: outputBytesMax },
      (error, stdout, stderr) =>
        done({ code: child.exitCode ?? -1, output: `${stdout}${stderr}` || (error?.message ?? "") }),
    );
  });
}
