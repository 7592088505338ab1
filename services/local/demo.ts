/**
 * `npm run demo`: takes one case through its life on the running stack, as any consumer could, and shows what the audit
 * service tells of it. Exit 0 when everything happened as the rules say, else 1.
 */
import { randomUUID } from "node:crypto";

import { type CallOptions, ConnectError } from "@connectrpc/connect";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { type CaseClient, createCaseClient } from "#libs/client/case-client.ts";
import { NoStack, readStack, type Stack, type TokenName } from "#libs/client/stack.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { type Case, type CaseState, CaseStateSchema } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { openLocalIssuer } from "#libs/local-issuer/local-issuer.ts";

import { findBreak, readTrail } from "./audit-trail.ts";
import { readConfig } from "./config.ts";
import { madeUpPeople } from "./made-up-people.ts";

/** A write: given whom to call as, it answers with the case, or throws. */
type Write = (cases: CaseClient, options: CallOptions) => Promise<{ case?: Case | undefined }>;

async function demo(): Promise<void> {
  const config = readConfig();
  const stack = await readStack(config.home);
  const issuer = await openLocalIssuer(config.home, config.tokens);
  if (!issuer)
    throw new NoStack("this stack's tokens come from elsewhere: the demo needs those of npm start");
  await using open = new AsyncDisposableStack();
  const callAs = (token: string) => open.use(createCaseClient({ url: stack.case.url, token }));
  const people = {
    caseworker: callAs(tokenOf(stack, "caseworker")),
    reviewer: callAs(tokenOf(stack, "reviewer")),
    supervisor: callAs(tokenOf(stack, "supervisor")),
    // The caseworker once more, this time with a reviewer's rights: even so, nobody approves a case of their own.
    ownReviewer: callAs(await issuer.sign({ ...madeUpPeople.caseworker, roles: ["reviewer"] }, 60)),
  };
  const { caseworker, reviewer, supervisor } = madeUpPeople;

  console.log(`One case of ${caseworker.tenantId} through its life\n`);
  console.log(columns("", "step", "by", "state", "version"));
  const created = await show("create", caseworker.subject, people.caseworker, (cases, options) =>
    cases.createCase(
      {
        requestId: randomUUID(),
        caseType: "building_permit",
        externalReference: "HC-2026-0042",
        content: { title: "A shed on Quay 7", people: [{ name: "Ida Lund", role: "applicant" }] },
      },
      options,
    ),
  );
  const { caseId } = created;
  await show("update", caseworker.subject, people.caseworker, (cases, options) =>
    cases.updateCase(
      {
        requestId: randomUUID(),
        caseId,
        content: { summary: "A wooden shed of 12 square metres, for nets and ropes." },
        updateMask: { paths: ["summary"] },
      },
      options,
    ),
  );
  // The request id is chosen once and kept: whoever lost the answer sends the same request again.
  const submission = { requestId: randomUUID(), caseId };
  const submit: Write = (cases, options) => cases.submitCase(submission, options);
  await show("submit", caseworker.subject, people.caseworker, submit);
  await show("submit, retried", caseworker.subject, people.caseworker, submit);
  await show("assign_reviewer", supervisor.subject, people.supervisor, (cases, options) =>
    cases.assignReviewer({ requestId: randomUUID(), caseId, reviewerId: reviewer.subject }, options),
  );
  await show("start_review", reviewer.subject, people.reviewer, (cases, options) =>
    cases.startReview({ requestId: randomUUID(), caseId }, options),
  );
  const approve: Write = (cases, options) =>
    cases.approveCase({ requestId: randomUUID(), caseId, reason: "Plans and fees are in order." }, options);
  await showRefusal("approve", caseworker.subject, people.ownReviewer, approve);
  await show("approve", reviewer.subject, people.reviewer, approve);
  const closed = await show("close", supervisor.subject, people.supervisor, (cases, options) =>
    cases.closeCase({ requestId: randomUUID(), caseId }, options),
  );

  console.log(`\nWhat the audit service tells of ${caseId}\n`);
  const audit = open.use(createAuditClient({ url: stack.audit.url, token: tokenOf(stack, "auditor") }));
  const trail = await readTrail(audit, caseId, closed.version);
  console.log(columns("#", "event", "by", "state", "SHA-256"));
  for (const entry of trail) console.log(toRow(entry));
  const fault = findBreak(trail);
  if (fault !== undefined) throw new Error(`the trail does not hold together: ${fault}`);
  console.log(
    "\nThe chain holds: every event names the SHA-256 of the one before it, computed here from the bytes.",
  );
}

function tokenOf(stack: Stack, name: TokenName): string {
  const token = stack.tokens[name];
  if (token === undefined)
    throw new NoStack(`the stack has no token for the ${name}: it was started with CASEFLOW_JWKS`);
  return token;
}

/** Makes the change, prints what became of it, and returns the case. */
async function show(step: string, by: string, cases: CaseClient, write: Write): Promise<Case> {
  let replayed = false;
  const { case: after } = await write(cases, {
    onHeader: (headers) => (replayed = headers.get("caseflow-replayed") === "true"),
  });
  if (!after) throw new Error(`${step}: the answer holds no case`);
  const version = `${after.version}${replayed ? "  the first answer again: nothing happened twice" : ""}`;
  console.log(columns("", step, by, stateName(after.state), version));
  return after;
}

async function showRefusal(step: string, by: string, cases: CaseClient, write: Write): Promise<void> {
  try {
    await write(cases, {});
  } catch (error) {
    const refusal = ConnectError.from(error);
    const [info] = refusal.findDetails(ErrorInfoSchema);
    if (!info) throw error;
    console.log(columns("", step, by, `refused: ${info.reason}`, ""));
    return;
  }
  throw new Error(`${step} by ${by} was to be refused and was not`);
}

function toRow({ event, digest }: AuditedEvent): string {
  if (!event) throw new Error("the audit service told of no event");
  const { subjectSequence, type, actor, fromState, toState } = event;
  const moved = fromState !== "" && fromState !== toState;
  return columns(
    String(subjectSequence),
    type,
    actor?.id ?? "",
    moved ? `${fromState} → ${toState}` : toState,
    Buffer.from(digest).toString("hex", 0, 8),
  );
}

function stateName(state: CaseState): string {
  const name = CaseStateSchema.value[state]?.name ?? `state ${state}`;
  return name.replace("CASE_STATE_", "").toLowerCase();
}

function columns(...[mark, what, who, state, last]: [string, string, string, string, string]): string {
  return `  ${mark.padEnd(2)}${what.padEnd(32)}${who.padEnd(14)}${state.padEnd(26)}${last}`.trimEnd();
}

try {
  await demo();
} catch (error) {
  console.error(error instanceof NoStack ? error.message : error);
  process.exitCode = 1;
}
