import { toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type AuditClient, createAuditClient } from "#libs/client/audit-client.ts";
import {
  type Access,
  AccessMethod,
  AccessMethodSchema,
  AccessSchema,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

import type { CliConfig } from "./config.ts";
import { findAuditService } from "./find-service.ts";
import { print, toLine, toTable } from "./print.ts";
import { readInstant } from "./read-instant.ts";

interface Options {
  readonly principal?: string;
  readonly method?: AccessMethod;
  readonly from?: Timestamp;
  readonly before?: Timestamp;
  readonly limit: number;
}

const pageSizeMax = 500;
const limitMax = 10_000;

/** By the name of the RPC. */
const methods = new Map(
  AccessMethodSchema.values.flatMap(({ name, number }) =>
    number === AccessMethod.UNSPECIFIED ? [] : [[toMethodName(name), number as AccessMethod] as const],
  ),
);

/** `caseflow accesses`: who read the tenant's events. */
export function addAccessesCommand(program: Command, config: CliConfig): void {
  program
    .command("accesses")
    .description("list who read the tenant's events, newest first")
    .option("--principal <id>", "only by this principal, whomever it acted for")
    .option("--method <name>", `only by this method, of ${[...methods.keys()].join(", ")}`, readMethod)
    .option("--from <time>", "only at or after this time", readInstant)
    .option("--before <time>", "only before this time", readInstant)
    .addOption(
      new Option("--limit <count>", `how many at most, up to ${limitMax}`).argParser(readLimit).default(50),
    )
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
A stream has two lines: BEGUN, and how it ended with what was given; without the second it is still open, or its process was
killed. Listing is an access, too: it shows from the next listing on.

The service is the one that AUDIT_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, with role auditor, or the
local stack's auditor's.

Examples:
  caseflow accesses
  caseflow accesses --principal ada --from 2026-01-01 --before 2026-02-01
  caseflow accesses --method ExportEvents --json`,
    )
    .action(async (options: Options, command: Command) => {
      await using audit = createAuditClient(await findAuditService(config));
      const accesses = await readAccesses(audit, options);
      print(
        command,
        toText(accesses),
        accesses.map((access) => toJson(AccessSchema, access)),
      );
    });
}

async function readAccesses(audit: AuditClient, options: Options): Promise<readonly Access[]> {
  const { principal: principalId = "", method = AccessMethod.UNSPECIFIED, from, before, limit } = options;
  const filter = { principalId, method, ...(from && { atFrom: from }), ...(before && { atBefore: before }) };
  const accesses: Access[] = [];
  for (let pageToken = "", more = true; more; more = pageToken !== "" && accesses.length < limit) {
    const pageSize = Math.min(limit - accesses.length, pageSizeMax);
    const page = await audit.listAccesses({ filter, pageSize, pageToken });
    accesses.push(...page.accesses);
    pageToken = page.nextPageToken;
  }
  return accesses;
}

const header = ["at", "principal", "method", "outcome", "given", "leaves", "filter"];

function toText(accesses: readonly Access[]): string {
  return toTable([header, ...accesses.map(toRow)]);
}

function toRow({ at, principal, method, outcome, givenCount, filter, ...access }: Access): string[] {
  const { firstLeafIndex: first, lastLeafIndex: last } = access;
  const { id = "", onBehalfOf = "" } = principal ?? {};
  return [
    at ? timestampDate(at).toISOString() : "",
    onBehalfOf ? `${id} for ${onBehalfOf}` : id,
    [...methods].find(([, number]) => number === method)?.[0] ?? "?",
    outcome,
    String(givenCount),
    first === undefined ? "" : first === last ? String(first) : `${first}-${last}`,
    toLine(filter),
  ];
}

/** `GetEvent` of `ACCESS_METHOD_GET_EVENT`. */
function toMethodName(name: string): string {
  const words = name.replace("ACCESS_METHOD_", "").toLowerCase().split("_");
  return words.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("");
}

function readMethod(text: string): AccessMethod {
  const method = methods.get(text);
  if (method !== undefined) return method;
  throw new InvalidArgumentError(`It is one of ${[...methods.keys()].join(", ")}.`);
}

function readLimit(text: string): number {
  const limit = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : Number.NaN;
  if (limit <= limitMax) return limit;
  throw new InvalidArgumentError(`It is a number from 1 to ${limitMax}.`);
}
