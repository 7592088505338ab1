import { type Command, InvalidArgumentError, Option } from "commander";
import { openLocalIssuer } from "#libs/local-issuer/local-issuer.ts";

import type { CliConfig } from "./config.ts";
import { Failure } from "./failure.ts";
import { print } from "./print.ts";

interface Options {
  readonly tenant?: string;
  readonly sub: string;
  readonly roles: string[];
  readonly kind: "person" | "service";
  readonly sources?: string[];
  readonly onBehalfOf?: string;
  readonly expiresIn: number;
}

const knownRoles = [
  "caseworker",
  "reviewer",
  "supervisor",
  "importer",
  "auditor",
  "operator",
  "event_source",
];
const secondsByUnit = new Map([
  ["s", 1],
  ["m", 60],
  ["h", 3_600],
  ["d", 86_400],
]);
const expirySecondsMax = 30 * 86_400;

/** `caseflow token`: signs a token with the key of the local stack, running or not. */
export function addTokenCommand(program: Command, config: CliConfig): void {
  program
    .command("token")
    .description("print a token signed by the local stack's issuer, and nothing else")
    .requiredOption("--sub <id>", "who it is for", readPrincipal)
    .requiredOption("--roles <a,b>", `of ${knownRoles.join(", ")}`, readRoles)
    .option(
      "--tenant <id>",
      "the tenant it speaks in; every call needs one, except delivery of events",
      readTenant,
    )
    .option("--kind <kind>", "person or service", readKind, "person")
    .option("--sources <a,b>", "event sources it may deliver for", readList)
    .option(
      "--on-behalf-of <id>",
      "whom the subject, a program, acts for (needs --kind service)",
      readPrincipal,
    )
    .addOption(
      new Option("--expires-in <time>", "such as 90s, 15m, 8h or 7d, at most 30d")
        .argParser(readSeconds)
        .default(3_600, "1h"),
    )
    .option("--json", 'print {"token": …} instead')
    .addHelpText(
      "after",
      `
Examples:
  caseflow token --tenant harbour-city --sub ada --roles caseworker
  caseflow token --tenant harbour-city --sub grace --roles reviewer,supervisor --expires-in 15m
  caseflow token --sub my-source --kind service --roles event_source --sources my/source
  caseflow token --tenant harbour-city --sub portal --kind service --roles caseworker --on-behalf-of ada`,
    )
    .action(async (options: Options, command: Command) => {
      if (options.onBehalfOf !== undefined && options.kind !== "service") {
        command.error(
          "error: --on-behalf-of is for programs, since a person speaks for themselves: add --kind service",
        );
      }
      const token = await sign(config, options);
      print(command, token, { token });
    });
}

async function sign(config: CliConfig, options: Options): Promise<string> {
  const issuer = await openLocalIssuer(config.home, config.tokens);
  if (!issuer) {
    throw new Failure(
      `there is no local issuer below ${config.home}: npm start makes one (CASEFLOW_HOME names the folder)`,
    );
  }
  const { tenant, sub, roles, kind, sources, onBehalfOf } = options;
  return issuer.sign(
    {
      subject: sub,
      roles,
      kind,
      ...(tenant !== undefined && { tenantId: tenant }),
      ...(sources !== undefined && { sources }),
      ...(onBehalfOf !== undefined && { onBehalfOf }),
    },
    options.expiresIn,
  );
}

function readTenant(text: string): string {
  if (/^[a-z0-9][a-z0-9-]{0,62}$/.test(text)) return text;
  throw new InvalidArgumentError("A tenant is 1 to 63 of a-z, 0-9 and -, not beginning with -.");
}

function readPrincipal(text: string): string {
  if (/^[\x21-\x7e]{1,128}$/.test(text)) return text;
  throw new InvalidArgumentError("It is 1 to 128 printable characters without spaces.");
}

function readList(text: string): string[] {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.every((part) => part !== "")) return parts;
  throw new InvalidArgumentError("It is a list with commas between.");
}

function readRoles(text: string): string[] {
  const roles = readList(text);
  const unknown = roles.filter((role) => !knownRoles.includes(role));
  if (unknown.length === 0) return roles;
  throw new InvalidArgumentError(`There is no role ${unknown.join(", ")}.`);
}

function readKind(text: string): "person" | "service" {
  if (text === "person" || text === "service") return text;
  throw new InvalidArgumentError("It is person or service.");
}

function readSeconds(text: string): number {
  const [, count, unit = ""] = /^([1-9]\d{0,8})([smhd])$/.exec(text) ?? [];
  const seconds = Number(count) * (secondsByUnit.get(unit) ?? Number.NaN);
  if (seconds <= expirySecondsMax) return seconds;
  throw new InvalidArgumentError("It is a count and a unit (s, m, h, d), at most 30d.");
}
