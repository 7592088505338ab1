import { appendFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import type { DestinationStream } from "pino";
import { expect, inject } from "vitest";
import { createLog, type Log } from "#libs/telemetry/log.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** A folder for everything that services write in this run; at its end it is searched. */
    outputFolder: string;
  }
}

/** Keeps what a service wrote, in a file a test file, for the search at the end of the run. */
export function keepOutput(text: string): void {
  if (text === "" || process.env["VITEST"] === undefined) return; // Benchmarks keep nothing.
  const { testPath } = expect.getState();
  const name = relative(process.cwd(), testPath ?? "unknown").replaceAll("/", "!");
  appendFileSync(join(inject("outputFolder"), basename(name)), text.endsWith("\n") ? text : `${text}\n`);
}

/** The log of a service that runs in a test's process: nobody sees it, and it is kept. `also` gets each line too. */
export function keptLog(service: string, also?: DestinationStream): Log {
  const destination = {
    write(line: string) {
      keepOutput(line);
      also?.write(line);
    },
  };
  return createLog({ service, version: "test", commit: "test", level: "info", destination });
}
