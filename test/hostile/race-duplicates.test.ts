import { hash, randomUUID } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CaseSchema, type Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import {
  content,
  openCase,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "../support/case-service.ts";
import { holdCommit } from "../support/cutting-commit.ts";
import { listenerOf, startCuttingProxy, throughProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { cloneCaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { refusalOf } from "../support/reason-of.ts";
import { rowDigests } from "../support/row-digests.ts";
import { openSuperuser } from "../support/superuser.ts";

/* Duplicates of one request, sent at once to two replicas of the service on one database, alone and among rivals. */

expectNoLeaks();

const stack = new AsyncDisposableStack();
/** The second replica's way to the database leads through `front`. */
let replicas: readonly [CaseServiceFixture, CaseServiceFixture];
let front: CuttingProxy;
beforeAll(async () => {
  const config = { relay: "off" } as const;
  const database = stack.use(await cloneCaseDatabase());
  const first = stack.use(await startCaseService({ config, database }));
  front = stack.use(await startCuttingProxy(listenerOf(database.appUrl)));
  const proxied = { ...database, appUrl: throughProxy(database.appUrl, front) };
  const second = stack.use(await startCaseService({ config, database: proxied, issuer: first.issuer }));
  replicas = [first, second];
});
afterAll(() => stack.disposeAsync());

interface Result {
  /** `accepted`, or code and reason. */
  readonly outcome: string;
  /** SHA-256 of the case as it was answered; empty when refused. */
  readonly digest: string;
  readonly replayed: boolean;
}

type Write = (
  client: Awaited<ReturnType<CaseServiceFixture["as"]>>,
  options: { onHeader: (headers: Headers) => void },
) => Promise<{ case?: Case | undefined }>;

/** Sends one write through a replica, as one of the people. */
async function send(
  replica: CaseServiceFixture,
  who: Parameters<CaseServiceFixture["as"]>[0],
  write: Write,
): Promise<Result> {
  let replayed = false;
  const client = await replica.as(who);
  const answer = write(client, {
    onHeader: (headers) => (replayed = headers.get("caseflow-replayed") === "true"),
  });
  const outcome = await refusalOf(answer);
  const digest = outcome === "accepted" ? hash("sha256", toBinary(CaseSchema, (await answer).case!)) : "";
  return { outcome, digest, replayed };
}

/** Sends it so often at once, to the replicas in turn. */
function sendMany(
  count: number,
  who: Parameters<CaseServiceFixture["as"]>[0],
  write: Write,
): Promise<Result[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => send(replicas[index % 2]!, who, write)));
}

const repeated = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

/** One took effect, and all were told the same. */
function expectOneEffect(results: readonly Result[]): void {
  expect(results.map(({ outcome }) => outcome)).toEqual(repeated(results.length, "accepted"));
  expect(new Set(results.map(({ digest }) => digest)).size).toBe(1);
  expect(results.filter(({ replayed }) => !replayed)).toHaveLength(1);
}

/** The case's actions so far, by what the database has. */
async function actionsOf(caseId: string): Promise<string[]> {
  await using superuser = await openSuperuser(replicas[0].database.superuserUrl);
  const { rows } = await superuser.query<{ action: string }>(
    "SELECT action FROM audit_entries WHERE tenant_id = $1 AND case_id = $2 ORDER BY version",
    [tenant, caseId],
  );
  return rows.map(({ action }) => action);
}

test.each([
  ["no", {}],
  ["the right", { expectedVersion: 1 }],
])(
  "of 50 sent to both replicas with %s expected version one takes effect and all get the same bytes",
  async (_, version) => {
    const request = { requestId: randomUUID(), caseId: await openCase(replicas[0]), ...version };
    expectOneEffect(
      await sendMany(50, "caseworker", (client, options) => client.submitCase(request, options)),
    );
    expect(await actionsOf(request.caseId)).toEqual(["create", "submit"]);
  },
);

test("50 sent to both replicas with a wrong expected version are all refused, and write nothing", async () => {
  const request = { requestId: randomUUID(), caseId: await openCase(replicas[0]), expectedVersion: 2 };
  const before = await rowDigests(replicas[0].database.superuserUrl);
  const results = await sendMany(50, "caseworker", (client, options) => client.submitCase(request, options));
  expect(results.map(({ outcome }) => outcome)).toEqual(repeated(50, "Aborted VERSION_MISMATCH"));
  expect(await rowDigests(replicas[0].database.superuserUrl)).toEqual(before);
});

test("of 50 creations sent to both replicas one case comes to be", async () => {
  const reference = randomUUID();
  const request = { requestId: randomUUID(), caseType: "permit", externalReference: reference, content };
  expectOneEffect(await sendMany(50, "caseworker", (client, options) => client.createCase(request, options)));
  await using superuser = await openSuperuser(replicas[0].database.superuserUrl);
  const { rows } = await superuser.query("SELECT FROM cases WHERE external_reference = $1", [reference]);
  expect(rows).toHaveLength(1);
});

test("of 25 of one message and 25 of another under one request id, the first message wins and the other is a misuse", async () => {
  const requestId = randomUUID();
  const caseIds = [await openCase(replicas[0]), await openCase(replicas[0])];
  const [one, other] = await Promise.all(
    caseIds.map((caseId) =>
      sendMany(25, "caseworker", (client, options) => client.submitCase({ requestId, caseId }, options)),
    ),
  );
  const [won, lost] = one![0]!.outcome === "accepted" ? [one!, other!] : [other!, one!];
  expectOneEffect(won);
  expect(lost.map(({ outcome }) => outcome)).toEqual(repeated(25, "InvalidArgument REQUEST_ID_REUSED"));
  const entries = await Promise.all(caseIds.map(actionsOf));
  expect(entries.flat().toSorted()).toEqual(["create", "create", "submit"]);
});

test.each([
  ["no", {}, "FailedPrecondition INVALID_TRANSITION"],
  ["the right", { expectedVersion: 4 }, "Aborted VERSION_MISMATCH"],
])(
  "of 25 duplicates of an approval and 25 rival rejections with %s expected version one takes effect, and each learns which",
  async (_, version, lost) => {
    const caseId = await openCase(replicas[0], "under_review");
    const approval = { requestId: randomUUID(), caseId, ...version };
    const rejection = () => ({ requestId: randomUUID(), caseId, reason: "no", ...version });
    const [approvals, rejections] = await Promise.all([
      sendMany(25, "reviewer", (client, options) => client.approveCase(approval, options)),
      sendMany(25, "reviewer2", (client, options) => client.rejectCase(rejection(), options)),
    ]);
    const [, , , , decided, ...more] = await actionsOf(caseId);
    expect(more).toEqual([]);
    const rejected = rejections.filter(({ outcome }) => outcome === "accepted");
    if (decided === "approve") expectOneEffect(approvals);
    else expect(approvals.map(({ outcome }) => outcome)).toEqual(repeated(25, lost));
    expect(rejected).toHaveLength(decided === "approve" ? 0 : 1);
    const losers = rejections.filter(({ outcome }) => outcome !== "accepted");
    expect(new Set(losers.map(({ outcome }) => outcome))).toEqual(new Set([lost]));
  },
);

test.each([
  ["no", {}, ["create", "update", "submit"]],
  ["the old", { expectedVersion: 1 }, ["create", "update"]],
])(
  "50 duplicates with %s expected version that wait behind a rival's open transaction are decided anew when it commits",
  async (_, version, actions) => {
    const caseId = await openCase(replicas[0]);
    const held = holdCommit(front, replicas[0].database.superuserUrl);
    const update = { requestId: randomUUID(), caseId, content, updateMask: { paths: ["title"] } };
    const rival = send(replicas[1], "caseworker", (client, options) => client.updateCase(update, options));
    await held.reached();
    const request = { requestId: randomUUID(), caseId, ...version };
    const results = sendMany(50, "caseworker", (client, options) => client.submitCase(request, options));
    await expectWaiting(replicas[0].database.superuserUrl);
    held.release();
    expect((await rival).outcome).toBe("accepted");
    if (actions.length === 3) expectOneEffect(await results);
    else
      expect((await results).map(({ outcome }) => outcome)).toEqual(repeated(50, "Aborted VERSION_MISMATCH"));
    expect(await actionsOf(caseId)).toEqual(actions);
  },
);

test("when the one that took effect never hears of it, its duplicates do, and its retry gets their bytes", async () => {
  const request = { requestId: randomUUID(), caseId: await openCase(replicas[0]) };
  const submit: Write = (client, options) => client.submitCase(request, options);
  const held = holdCommit(front, replicas[0].database.superuserUrl);
  const deaf = send(replicas[1], "caseworker", submit);
  await held.reached();
  const duplicates = Promise.all(
    repeated(49, replicas[0]).map((replica) => send(replica, "caseworker", submit)),
  );
  await expectWaiting(replicas[0].database.superuserUrl);
  held.release("cut-answer");
  expect((await deaf).outcome).toBe("Unavailable OUTCOME_UNKNOWN");
  const results = await duplicates;
  const retry = await send(replicas[1], "caseworker", submit);
  expect(retry).toMatchObject({ outcome: "accepted", replayed: true });
  expect(results).toEqual(repeated(49, retry));
  expect(await actionsOf(request.caseId)).toEqual(["create", "submit"]);
});

test("a used request id whose answer is removed while it is used again still has no second effect", async () => {
  const requestId = randomUUID();
  const caseIds = [await openCase(replicas[0]), await openCase(replicas[0])] as const;
  const submit =
    (caseId: string): Write =>
    (client, options) =>
      client.submitCase({ requestId, caseId }, options);
  const held = front.strike({ side: "client", has: "save_" }, "hold");
  const second = send(replicas[1], "caseworker", submit(caseIds[1]));
  await held.struck;
  expect((await send(replicas[0], "caseworker", submit(caseIds[0]))).outcome).toBe("accepted");
  await using superuser = await openSuperuser(replicas[0].database.superuserUrl);
  await superuser.query("DELETE FROM recorded_answers WHERE request_id = $1", [requestId]);
  held.release();
  expect((await second).outcome).toBe("AlreadyExists REQUEST_ALREADY_APPLIED");
  expect(await Promise.all(caseIds.map(actionsOf))).toEqual([["create", "submit"], ["create"]]);
});

/** Resolves once somebody waits for a lock in the database. */
async function expectWaiting(superuserUrl: string): Promise<void> {
  await using superuser = await openSuperuser(superuserUrl);
  const waiting =
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
  await expect
    .poll(async () => (await superuser.query(waiting)).rowCount, { interval: 5 })
    .toBeGreaterThan(0);
}
