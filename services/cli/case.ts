import { toJson } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { createCaseClient } from "#libs/client/case-client.ts";
import { type Case, CaseSchema, CaseStateSchema } from "#libs/gen/caseflow/cases/v1/case_pb.ts";

import type { CliConfig } from "./config.ts";
import { findService } from "./find-service.ts";
import { print, toTable } from "./print.ts";

/** `caseflow case show ID`: a case as the case service has it. */
export function addCaseCommand(program: Command, config: CliConfig): void {
  program
    .command("case")
    .description("look at cases")
    .command("show <id>")
    .description("show a case as it stands")
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
The service is the one that CASE_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, or the local
stack's caseworker's.

Examples:
  caseflow case show 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64
  CASEFLOW_TOKEN=$(caseflow token --tenant hill-county --sub ada --roles auditor) caseflow case show …`,
    )
    .action(async (caseId: string, _options: unknown, command: Command) => {
      const { url, token } = await findService(config);
      await using cases = createCaseClient({ url, token });
      const { case: found } = await cases.getCase({ caseId });
      if (!found) throw new Error("the answer holds no case");
      print(command, toText(found), toJson(CaseSchema, found));
    });
}

function toText(found: Case): string {
  const { content } = found;
  const people = content?.people.map(({ name, role }) => `${name} (${role})`).join(", ");
  const rows = [
    ["case", found.caseId],
    ["type", found.caseType],
    ["reference", found.externalReference],
    ["state", (CaseStateSchema.value[found.state]?.name ?? "").replace("CASE_STATE_", "").toLowerCase()],
    ["version", String(found.version)],
    ["title", content ? content.title : "(erased)"],
    ["people", people ?? ""],
    ["creator", found.creatorId],
    ["submitter", found.submitterId],
    ["reviewer", found.assignedReviewerId],
    ["approved by", found.approverIds.join(", ")],
    ["rejected by", found.rejecterId],
    ["commitment", Buffer.from(found.contentCommitment).toString("hex")],
  ];
  return toTable(rows.filter(([, value]) => value !== ""));
}
