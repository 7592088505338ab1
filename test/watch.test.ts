import { randomBytes, randomUUID } from "node:crypto";
import { copyFile } from "node:fs/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import {
  UpdateCaseResponseSchema,
  type WatchCasesResponse,
} from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import {
  content,
  openCase,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "./support/case-service.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";
import { createIssuer } from "./support/tokens.ts";
import { waitUntil } from "./support/wait-until.ts";
import { openWatch, startWatch } from "./support/watcher.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let cases: CaseServiceFixture;

beforeAll(async () => {
  cases = stack.use(await startCaseService({ config: { relay: "off" } }));
});
afterAll(() => stack.disposeAsync());

/** A token of now. */
async function startToken(): Promise<string> {
  await using watch = await openWatch(await cases.as("auditor"));
  return watch.resumeToken;
}

const versionsOf = (messages: readonly WatchCasesResponse[], caseId: string) =>
  messages.flatMap((message) => (message.case?.caseId === caseId ? [message.case.version] : []));
const has = (caseId: string, version: number) => (messages: readonly WatchCasesResponse[]) =>
  versionsOf(messages, caseId).includes(version);

test("a watch gives the case as it was right after each change, though it has moved on since", async () => {
  const auditor = await cases.as("auditor");
  const start = await startToken();
  const caseId = await openCase(cases, "closed");
  await using watch = startWatch(auditor, start); // All at once: each version but the last is history by now.
  await watch.until(has(caseId, 6));
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await superuser.query<{ answer: Buffer }>(
    "SELECT answer FROM recorded_answers WHERE case_id = $1 ORDER BY version",
    [caseId],
  );
  const answered = rows.map(
    ({ answer }) => fromBinary(UpdateCaseResponseSchema, new Uint8Array(answer)).case,
  );
  expect(answered).toHaveLength(6);
  expect(watch.messages.flatMap((message) => message.case ?? [])).toEqual(answered);
  expect(watch.messages.every(({ partial }) => !partial)).toBe(true);
});

test("a change whose answer was removed is told from its event, and marked as partial", async () => {
  const start = await startToken();
  const caseId = await openCase(cases, "submitted");
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  await superuser.query("DELETE FROM recorded_answers WHERE case_id = $1 AND version = 2", [caseId]);
  await using watch = startWatch(await cases.as("auditor"), start);
  await watch.until(has(caseId, 2));
  const found = (await (await cases.as("auditor")).getCase({ caseId })).case!;
  expect(watch.messages.map(({ partial }) => partial)).toEqual([false, false, true]);
  const { caseType, state, version, contentCommitment, policyVersion, updatedAt } = found;
  expect(watch.messages[2]!.case).toMatchObject({
    ...{ caseId, caseType, state, version, contentCommitment, policyVersion, updatedAt },
    creatorId: "",
  });
  expect(watch.messages[2]!.case!.content).toBeUndefined();
  expect(state).toBe(CaseState.SUBMITTED);
});

test("a watch is not another tenant's, and neither is its token", async () => {
  const [own, other] = [await cases.as("auditor"), await cases.as("auditor", "other")];
  await using watch = await openWatch(own);
  await using others = await openWatch(other);
  const theirs = await openCase(cases, "draft", "other");
  const ours = await openCase(cases);
  await Promise.all([watch.until(has(ours, 1)), others.until(has(theirs, 1))]);
  expect(versionsOf(watch.messages, theirs)).toEqual([]);
  expect(versionsOf(others.messages, ours)).toEqual([]);
  await using stolen = startWatch(other, watch.resumeToken);
  expect(await stolen.ended).toBe("InvalidArgument PAGE_TOKEN_INVALID");
  expect(stolen.messages).toEqual([]);
});

/** The place in a token, changed; signed for the tenant, as whoever knows the code could. */
function forge(token: string, change: (parts: string[]) => string[]): string {
  const place = readPageToken([tenant, "watch"], token)!;
  return makePageToken([tenant, "watch"], change(place.split("/")).join("/"));
}

test("a token that was tampered with, or is no token, is refused", async () => {
  const auditor = await cases.as("auditor");
  await using watch = await openWatch(auditor);
  const token = watch.resumeToken;
  const wrong = [
    `${token.slice(0, -2)}AA`,
    "x",
    makePageToken([tenant, "cases"], "x"),
    forge(token, ([identity, , ...rest]) => [identity!, "99999999999999999999", ...rest]),
    forge(token, ([identity, xid, caseId, , eventId]) => [identity!, xid!, caseId!, "9999999999", eventId!]),
    forge(token, ([identity, xid, , ...rest]) => [identity!, xid!, "'; --", ...rest]),
  ];
  for (const resumeToken of wrong) {
    await using refused = startWatch(auditor, resumeToken);
    expect(await refused.ended, resumeToken).toBe("InvalidArgument PAGE_TOKEN_INVALID");
  }
});

test("a token of another database, of another timeline, of a time to come or of an entry that is gone has expired", async () => {
  const auditor = await cases.as("auditor");
  await using watch = await openWatch(auditor);
  const caseId = await openCase(cases);
  await watch.until(has(caseId, 1));
  const token = watch.resumeToken;
  const expired = [
    forge(token, ([identity, ...rest]) => [identity!.replace(/^\d+/, "1"), ...rest]),
    forge(token, ([identity, ...rest]) => [identity!.replace(/\.\d+\./, ".1."), ...rest]),
    forge(token, ([identity, ...rest]) => [identity!.replace(/1$/, "2"), ...rest]),
    forge(token, ([identity, xid, ...rest]) => [identity!, String(BigInt(xid!) + 1_000_000n), ...rest]),
    forge(token, ([identity, xid, id, version]) => [identity!, xid!, id!, version!, randomUUID()]),
  ];
  for (const resumeToken of expired) {
    await using refused = startWatch(auditor, resumeToken);
    expect(await refused.ended, resumeToken).toBe("OutOfRange RESUME_TOKEN_EXPIRED");
    expect(refused.messages).toEqual([]);
  }
  await using same = startWatch(
    auditor,
    forge(token, (parts) => parts),
  );
  await same.until((messages) => messages.length > 0);
});

test("while a transaction is open somewhere in the cluster, watches wait; then they have everything, in order", async () => {
  await using watch = await openWatch(await cases.as("auditor"));
  await using elsewhere = await openSuperuser(
    cases.database.superuserUrl.replace(cases.database.name, "postgres"),
  );
  await elsewhere.query("BEGIN");
  await elsewhere.query("SELECT pg_current_xact_id()");
  const ids = [await openCase(cases, "submitted"), await openCase(cases, "closed")];
  await using late = await openWatch(await cases.as("auditor")); // Looks at once, and sees nothing yet.
  expect(ids.map((id) => versionsOf([...watch.messages, ...late.messages], id))).toEqual([[], []]);
  await elsewhere.query("ROLLBACK");
  await watch.until(has(ids[1]!, 6));
  expect(ids.map((id) => versionsOf(watch.messages, id))).toEqual([
    [1, 2],
    [1, 2, 3, 4, 5, 6],
  ]);
});

test("an entry that commits after later ones is not skipped", async () => {
  await using watch = await openWatch(await cases.as("auditor"));
  await using observer = await openSuperuser(cases.database.superuserUrl);
  await using rival = await openSuperuser(cases.database.superuserUrl);
  const slow = await openCase(cases);
  // Holds the entry's request id: the submission gets its transaction id, and waits.
  const requestId = randomUUID();
  await rival.query("BEGIN");
  await rival.query(
    `INSERT INTO recorded_answers SELECT tenant_id, 'caseworker', $2, request_hash, answer, case_id, version, expires_at
       FROM recorded_answers WHERE case_id = $1`,
    [slow, requestId],
  );
  const caseworker = await cases.as("caseworker");
  const submitted = caseworker.submitCase({ requestId, caseId: slow });
  await waitUntil(async () => {
    const { rows } = await observer.query(
      "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE cases%'",
    );
    return rows.length > 0;
  });
  const quick = await openCase(cases, "submitted");
  await rival.query("ROLLBACK");
  await submitted;
  await watch.until((messages) => has(slow, 2)(messages) && has(quick, 2)(messages));
  expect(versionsOf(watch.messages, slow)).toEqual([1, 2]);
  expect(versionsOf(watch.messages, quick)).toEqual([1, 2]);
});

test("a commit in another process rings a watch without waiting for its poll", async () => {
  await using other = await startCaseService({
    database: cases.database,
    issuer: cases.issuer,
    config: { relay: "off" },
  });
  await using watch = await openWatch(await cases.as("auditor"));
  const caseId = await openCase(other);
  await watch.until(has(caseId, 1));
});

test("when the token of its caller expires a watch ends, and gives nothing after", async () => {
  let nowMs = Date.now();
  await using own = await startCaseService({
    database: cases.database,
    issuer: cases.issuer,
    config: { relay: "off" },
    now: () => new Date(nowMs),
  });
  await using watch = await openWatch(await own.as("auditor"));
  nowMs += 3_600_000;
  const caseId = await openCase(cases);
  expect(await watch.ended).toBe("Unauthenticated UNAUTHENTICATED");
  expect(versionsOf(watch.messages, caseId)).toEqual([]);
});

test("when the key of its caller's token is withdrawn a watch ends", async () => {
  await using issuer = await createIssuer();
  await using other = await createIssuer();
  await using own = await startCaseService({
    database: cases.database,
    issuer,
    config: { relay: "off" },
  });
  await using watch = await openWatch(await own.as("auditor"));
  await copyFile(other.jwks, issuer.jwks);
  expect(await watch.ended).toBe("Unauthenticated UNAUTHENTICATED");
});

test("watches are bounded a tenant; the next may come when one has gone", async () => {
  const token = await cases.token("auditor");
  await using client = createCaseClient({ url: cases.url, token });
  await using open = new AsyncDisposableStack();
  for (let count = 0; count < 50; count++) open.use(await openWatch(client));
  await using refused = startWatch(client);
  expect(await refused.ended).toBe("ResourceExhausted RATE_LIMITED");
  await using other = await openWatch(await cases.as("auditor", "other"));
  expect(other.messages).toHaveLength(1);
  await open.disposeAsync();
  let outcome = "";
  while (outcome !== "open") {
    await using again = startWatch(client);
    outcome = await Promise.race([
      again.ended,
      again.until((messages) => messages.length > 0).then(() => "open"),
    ]);
  }
});

test("a stopping service ends its watches at once, and the token goes on elsewhere", async () => {
  const { database, issuer } = cases;
  const stopping = await startCaseService({ database, issuer, config: { relay: "off", drainMs: 600_000 } });
  await using client = createCaseClient({ url: stopping.url, token: await stopping.token("auditor") });
  await using watch = await openWatch(client);
  await stopping[Symbol.asyncDispose]();
  expect(await watch.ended).toBe("Unavailable OVERLOADED");
  const caseId = await openCase(cases);
  await using resumed = startWatch(await cases.as("auditor"), watch.resumeToken);
  await resumed.until(has(caseId, 1));
});

test("for a caller who does not read, no more than two pages are fetched", { timeout: 120_000 }, async () => {
  await using own = await startCaseService({ config: { relay: "off" } });
  await using auditor = createCaseClient({ url: own.url, token: await own.token("auditor") });
  const caseId = await openCase(own);
  const caseworker = await own.as("caseworker");
  const done = new AbortController();
  const reading = auditor.watchCases({}, { signal: done.signal, timeoutMs: 100_000 })[Symbol.asyncIterator]();
  const first = await reading.next();
  const pageRowsMax = 100;
  const updates = 2.6 * pageRowsMax;
  for (let count = 0; count < updates; count++) {
    const summary = randomBytes(6_000).toString("base64"); // Nothing that compresses.
    const updateMask = { paths: ["summary"] };
    await caseworker.updateCase({
      requestId: randomUUID(),
      caseId,
      content: { ...content, summary },
      updateMask,
    });
  }
  await using superuser = await openSuperuser(own.database.superuserUrl);
  const { rows } = await superuser.query(
    "SELECT idx_tup_read::integer AS read FROM pg_stat_user_indexes WHERE indexrelname = 'audit_entries_by_commit'",
  );
  expect(first.value.case).toBeUndefined();
  // What is on its way to the caller, some forty at most, and the page behind it, however many it has by then.
  expect(rows[0].read).toBeLessThan(2 * pageRowsMax);
  const versions: number[] = [];
  while (versions.length < updates) {
    const { value: message } = await reading.next();
    const version = message.case?.version ?? 0; // None where it only tells how far the watch has come.
    if (version > 1) versions.push(version); // The creation is told too, where a transaction was open somewhere.
  }
  expect(versions).toEqual(Array.from({ length: updates }, (_, index) => index + 2));
  done.abort();
  expect(await refusalOf(reading.next())).toBe("Canceled (no reason)");
});

test("who may not list cases may not watch them", async () => {
  const token = await cases.issuer.token({ tenant, sub: "relay", roles: ["event_source"] });
  await using client = createCaseClient({ url: cases.url, token });
  expect(await startWatch(client).ended).toBe("PermissionDenied FORBIDDEN");
  expect(
    await refusalOf(client.createCase({ requestId: randomUUID(), caseType: "permit", content })),
  ).toContain("FORBIDDEN");
});
