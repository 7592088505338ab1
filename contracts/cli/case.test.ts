import { execFile } from "node:child_process";
import { join, resolve } from "node:path";

import { expect, test } from "vitest";
import { recordContract } from "#libs/contracts/record-contract.ts";
import { file_caseflow_cases_v1_case_service } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

import { expectOnDisk } from "../support/expect-on-disk.ts";

const contract = recordContract({
  consumer: "cli",
  provider: "case",
  files: [file_caseflow_cases_v1_case_service],
});

const root = resolve(import.meta.dirname, "../..");
const caseId = "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64";
const givenCase = { $match: "given", name: "caseId", example: caseId } as const;
const commandTimeoutMs = 20_000;

const call = {
  method: "caseflow.cases.v1.CaseService/GetCase",
  caller: { subject: "ada", kind: "person", roles: ["caseworker"] },
  deadlineMs: 5_000,
  request: { caseId: givenCase },
} as const;

test("a case that went all the way is shown with everybody who had a part in it", () =>
  contract.expect(
    [
      {
        name: "a closed case names everybody who had a part in it",
        state: {
          name: "a case",
          parameters: { state: "closed", caseType: "permit", externalReference: "quay-4" },
        },
        call,
        answer: {
          code: "OK",
          message: {
            case: {
              caseId: givenCase,
              caseType: "permit",
              externalReference: "quay-4",
              state: "CASE_STATE_CLOSED",
              version: { $match: "atLeast", least: 1, example: 6 },
              content: {
                title: { $match: "present", example: "Extension of a quay" },
                people: [
                  {
                    name: { $match: "present", example: "Ada Byron" },
                    role: { $match: "pattern", pattern: "^[a-z][a-z0-9_]*$", example: "applicant" },
                  },
                ],
              },
              creatorId: { $match: "present", example: "caseworker" },
              submitterId: { $match: "present", example: "caseworker" },
              assignedReviewerId: { $match: "present", example: "reviewer" },
              approverIds: { $match: "each", of: { $match: "present", example: "reviewer" }, atLeast: 1 },
              contentCommitment: {
                $match: "bytes",
                length: 32,
                example: Buffer.alloc(32, 0xa5).toString("base64"),
              },
            },
          },
        },
      },
    ],
    async (url) => {
      const { code, stdout } = await runCommand(url, "case", "show", caseId);
      expect(code).toBe(0);
      expect(
        Object.fromEntries(
          stdout
            .trimEnd()
            .split("\n")
            .map((line) => line.split(/ {2,}/)),
        ),
      ).toEqual({
        case: caseId,
        type: "permit",
        reference: "quay-4",
        state: "closed",
        version: "6",
        title: "Extension of a quay",
        people: "Ada Byron (applicant)",
        creator: "caseworker",
        submitter: "caseworker",
        reviewer: "reviewer",
        "approved by": "reviewer",
        commitment: "a5".repeat(32),
      });
    },
  ));

test("a rejected case is shown with who rejected it", () =>
  contract.expect(
    [
      {
        name: "a rejected case names who rejected it",
        state: { name: "a case", parameters: { state: "rejected" } },
        call,
        answer: {
          code: "OK",
          message: {
            case: {
              state: "CASE_STATE_REJECTED",
              rejecterId: { $match: "present", example: "reviewer" },
              approverIds: { $match: "absent" },
            },
          },
        },
      },
    ],
    async (url) => {
      const { stdout } = await runCommand(url, "case", "show", caseId);
      expect(stdout).toMatch(/^state +rejected$/m);
      expect(stdout).toMatch(/^rejected by +reviewer$/m);
      expect(stdout).not.toContain("approved by");
    },
  ));

test("a case that is not there ends the command with 1 and the reason", () =>
  contract.expect(
    [
      {
        name: "a case that is not there is not found",
        state: { name: "no case" },
        call,
        answer: { code: "NOT_FOUND", domain: "caseflow", reason: "CASE_NOT_FOUND" },
      },
    ],
    async (url) => {
      const { code, stderr } = await runCommand(url, "case", "show", caseId);
      expect(code).toBe(1);
      expect(stderr).toContain("(CASE_NOT_FOUND)");
    },
  ));

test("an id that is no UUID ends the command with 1 and the reason", () =>
  contract.expect(
    [
      {
        name: "an id that is no UUID is refused",
        state: { name: "no case" },
        call: { ...call, request: { caseId: "no-uuid" } },
        answer: { code: "INVALID_ARGUMENT", domain: "caseflow", reason: "INVALID_REQUEST" },
      },
    ],
    async (url) => {
      const { code, stderr } = await runCommand(url, "case", "show", "no-uuid");
      expect(code).toBe(1);
      expect(stderr).toContain("(INVALID_REQUEST)");
    },
  ));

test("the contract on disk says what these tests expect", () => expectOnDisk(contract));

/** The command as its users run it: a process of its own. */
function runCommand(
  url: string,
  ...args: readonly string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { ...process.env, CASE_URL: url, CASEFLOW_TOKEN: "a-token" };
  const command = [join(root, "services/cli/main.ts"), ...args];
  return new Promise((done) => {
    const child = execFile(
      process.execPath,
      command,
      { env, timeout: commandTimeoutMs },
      (_error, stdout, stderr) => done({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}
