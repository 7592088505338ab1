import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseAdminClient } from "#libs/client/case-admin-client.ts";
import { content, openCase, setPolicy, tenant } from "./support/case-service.ts";
import { listAllEvents, startPair, type Pair } from "./support/pair.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";
import { openSuperuser } from "./support/superuser.ts";

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair[Symbol.asyncDispose]());

const rules = { approvalsRequired: 2, appealWindowDays: 14 };
const reason = "four eyes from now on";

test("where nothing was set, one approval decides and a decision may be appealed for thirty days", async () => {
  const { policy } = await (await pair.cases.admin()).getCasePolicy({ caseType: "never_set" });
  expect(policy).toMatchObject({ policyVersion: 0, approvalsRequired: 1, appealWindowDays: 30 });
});

test("a policy counts its changes, holds for its tenant and type alone, and answers a retry as it did", async () => {
  const admin = await pair.cases.admin();
  const caseType = "counted";
  const request = { requestId: randomUUID(), caseType, policy: rules, reason, expectedPolicyVersion: 0 };
  const replayed: (string | null)[] = [];
  const onHeader = (headers: Headers) => replayed.push(headers.get("caseflow-replayed"));
  const first = await admin.setCasePolicy(request, { onHeader });
  const before = await rowDigests(pair.cases.database.superuserUrl);
  expect(await admin.setCasePolicy(request, { onHeader })).toEqual(first);
  expect(replayed).toEqual([null, "true"]);
  expect((await rowDigests(pair.cases.database.superuserUrl))["public.case_policies"]).toBe(
    before["public.case_policies"],
  );
  expect(first.policy).toMatchObject({ policyVersion: 1, ...rules });
  expect((await admin.getCasePolicy({ caseType })).policy).toEqual(first.policy);
  expect((await admin.getCasePolicy({ caseType: "counted_too" })).policy?.policyVersion).toBe(0);
  const elsewhere = await pair.cases.admin("another");
  expect((await elsewhere.getCasePolicy({ caseType })).policy?.policyVersion).toBe(0);
});

test.each([
  ["FailedPrecondition REASON_REQUIRED", { reason: " " }],
  ["Aborted VERSION_MISMATCH", { expectedPolicyVersion: 7 }],
  ["InvalidArgument INVALID_REQUEST", { policy: { approvalsRequired: 3, appealWindowDays: 0 } }],
  ["InvalidArgument INVALID_REQUEST", { policy: { approvalsRequired: 1, appealWindowDays: 3651 } }],
])("%s answers a policy with %j, and nothing is set", async (outcome, change) => {
  const admin = await pair.cases.admin();
  const request = { requestId: randomUUID(), caseType: "refused", policy: rules, reason, ...change };
  expect(await refusalOf(admin.setCasePolicy(request))).toBe(outcome);
  expect((await admin.getCasePolicy({ caseType: "refused" })).policy?.policyVersion).toBe(0);
});

test("a supervisor reads a policy and does not set it", async () => {
  const { url } = pair.cases;
  await using supervisor = createCaseAdminClient({ url, token: await pair.cases.token("supervisor") });
  const caseType = "read_only";
  expect(await refusalOf(supervisor.getCasePolicy({ caseType }))).toBe("accepted");
  const request = { requestId: randomUUID(), caseType, policy: rules, reason };
  expect(await refusalOf(supervisor.setCasePolicy(request))).toBe("PermissionDenied FORBIDDEN");
});

test("of twenty operators who set a policy at once each sets a version of its own, in one chain of events", async () => {
  const admin = await pair.cases.admin();
  const caseType = "contended";
  const set = async (): Promise<number> => {
    const request = { requestId: randomUUID(), caseType, policy: rules, reason };
    for (;;) {
      const call = admin.setCasePolicy(request);
      const outcome = await refusalOf(call);
      if (outcome === "accepted") return (await call).policy!.policyVersion;
      expect(outcome).toBe("Aborted VERSION_MISMATCH");
    }
  };
  const versions = await Promise.all(Array.from({ length: 20 }, set));
  expect(versions.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  const events = await policyEvents(caseType, 20);
  expect(events.map((event) => Number(event.subjectSequence))).toEqual(versions.toSorted((a, b) => a - b));
  for (const event of events.slice(1)) expect(event.previousDigest).toHaveLength(32);
});

test("what was done to a policy is no case's history", async () => {
  await setPolicy(pair.cases, "no_case", tenant, rules);
  await using superuser = await openSuperuser(pair.cases.database.superuserUrl);
  const { rows } = await superuser.query("SELECT case_id FROM audit_entries WHERE action = 'set_policy'");
  const auditor = await pair.cases.as("auditor");
  const history = auditor.getCaseHistory({ caseId: rows[0].case_id });
  expect(await refusalOf(history)).toBe("NotFound CASE_NOT_FOUND");
});

test("setting a policy is an event that tells who, what and why", async () => {
  await setPolicy(pair.cases, "told", tenant, rules);
  const [event] = await policyEvents("told", 1);
  expect(event).toMatchObject({
    type: "caseflow.policy.set",
    subject: "policy/told",
    subjectType: "told",
    subjectSequence: 1n,
    fromState: "",
    toState: "in_force",
    actor: { id: "operator", roles: ["operator"] },
    reason: "four eyes",
    policyVersion: 1,
    ...rules,
  });
});

test("a case keeps the policy it was created under, and each of its events names it", async () => {
  const caseType = "changing";
  await setPolicy(pair.cases, caseType, tenant, rules);
  const caseId = await openCase(pair.cases, "submitted", tenant, caseType);
  await setPolicy(pair.cases, caseType, tenant, { approvalsRequired: 1, appealWindowDays: 0 });
  const write = () => ({ caseId, requestId: randomUUID() });
  await (await pair.cases.as("supervisor")).assignReviewer({ ...write(), reviewerId: "reviewer" });
  const reviewer = await pair.cases.as("reviewer");
  await reviewer.startReview(write());
  const { case: found } = await reviewer.approveCase(write());
  expect(found).toMatchObject({ policyVersion: 1, approvalsRequired: 2, appealWindowDays: 14, state: 3 });
  const { entries } = await reviewer.getCaseHistory({ caseId });
  expect(entries.map(({ policyVersion }) => policyVersion)).toEqual([1, 1, 1, 1, 1]);
  expect(entries.at(-1)?.approvalsRequired).toBe(2);
  const fresh = await (
    await pair.cases.as("caseworker")
  ).createCase({ requestId: randomUUID(), caseType, content });
  expect(fresh.case).toMatchObject({ policyVersion: 2, approvalsRequired: 1, appealWindowDays: 0 });
});

/** The events of a type's policy at the audit service, once there are as many as `count`. */
async function policyEvents(caseType: string, count: number) {
  const { cases, audit } = pair;
  const read = async () =>
    (await listAllEvents(audit.url, cases.issuer)).flatMap(({ event }) =>
      event?.subject === `policy/${caseType}` ? [event] : [],
    );
  await expect.poll(async () => (await read()).length, { timeout: 10_000 }).toBe(count);
  return read();
}
