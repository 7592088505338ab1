import { join, relative } from "node:path";

import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { type Stack, stackFileName, type TokenName, tokenNames } from "#libs/client/stack.ts";

import { madeUpPeople } from "./made-up-people.ts";

/** What is printed once the stack is ready: where it is, whom to be, and commands to paste. */
export function describeStack(stack: Stack, home: string, workingFolder: string): string {
  const file = shorten(join(home, stackFileName), workingFolder);
  const lines = [
    `  case service    ${stack.case.url}    probes at ${stack.case.metricsUrl}`,
    `  audit service   ${stack.audit.url}    probes at ${stack.audit.metricsUrl}`,
    `  logs            ${shorten(join(home, "logs"), workingFolder)}`,
    "",
  ];
  if (Object.keys(stack.tokens).length === 0) {
    lines.push("Tokens come from your issuer (CASEFLOW_JWKS): the stack has none to give.");
  } else {
    lines.push(`Tokens for twelve hours, also in ${file}:`, "");
    for (const name of tokenNames) {
      const { subject, tenantId = "" } = madeUpPeople[name];
      lines.push(
        `  ${name.padEnd(12)} ${subject.padEnd(12)} ${tenantId.padEnd(13)} ${stack.tokens[name] ?? ""}`,
      );
    }
    lines.push("", "To paste into another terminal, in this folder:", "", toCommands(stack, file), "");
    lines.push("npm run demo takes a case through its whole life.");
  }
  lines.push("Ctrl-C stops everything. The data stays; npm start -- --reset forgets it.");
  return lines.join("\n");
}

const call = "npx buf curl --protocol grpc --http2-prior-knowledge --header";

/** For a shell: creates a case, reads it, and lists its events, each with a token out of `stack.json`. */
function toCommands(stack: Stack, stackFile: string): string {
  const tokens = `JSON.parse(fs.readFileSync(${JSON.stringify(stackFile)})).tokens`;
  const requestId = `'$(node -p 'crypto.randomUUID()')'`;
  const [cases, audit] = [
    `${stack.case.url}/${CaseService.typeName}`,
    `${stack.audit.url}/${AuditService.typeName}`,
  ];
  return [
    `token() { node -p ${quote(`${tokens}[process.argv[1]]`)} "$1"; }`,
    `CASE_ID=$(${call} ${as("caseworker")} \\`,
    `  --data '{"requestId":"${requestId}","caseType":"building_permit","content":{"title":"A shed on Quay 7"}}' \\`,
    `  ${cases}/CreateCase | node -p 'JSON.parse(fs.readFileSync(0)).case.caseId')`,
    `${call} ${as("caseworker")} \\`,
    `  --data '{"caseId":"'$CASE_ID'"}' ${cases}/GetCase`,
    `${call} ${as("auditor")} \\`,
    `  --data '{"filter":{"subject":"'$CASE_ID'"}}' ${audit}/ListEvents`,
  ].join("\n");
}

function as(tokenName: TokenName): string {
  return `"Authorization: Bearer $(token ${tokenName})"`;
}

/** For a shell: one word, whatever is in it. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function shorten(path: string, workingFolder: string): string {
  const short = relative(workingFolder, path);
  return short.startsWith("..") ? path : short;
}
