import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { auditTenant, startAuditService, type AuditServiceFixture } from "../support/audit-service.ts";
import { makeChain, makeEvent, type TestEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { refusalOf } from "../support/reason-of.ts";
import { rowDigests } from "../support/row-digests.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
const victimSource = "caseflow/case";
const attackerSource = "attack/source";
let audit: AuditServiceFixture;
let victim: AuditClient;
let attacker: AuditClient;

beforeAll(async () => {
  audit = stack.use(await startAuditService());
  victim = await audit.source([victimSource]);
  attacker = await audit.source([attackerSource]);
});
afterAll(() => stack.disposeAsync());

async function send(client: AuditClient, ...events: readonly TestEvent[]) {
  const { outcomes } = await client.recordEvents({ events: events.map(({ bytes }) => bytes) });
  return outcomes.map(({ outcome, reason, leafIndex, nextSequence }) => ({
    outcome,
    reason,
    leafIndex,
    nextSequence,
  }));
}

test("events of another source are refused alike, whether they are there or not, and store nothing", async () => {
  const [first, second, third] = makeChain(3, { source: victimSource }) as [TestEvent, TestEvent, TestEvent];
  await send(victim, first);
  const before = await rowDigests(audit.database.superuserUrl);
  const elsewhere = makeEvent({ source: victimSource, tenantId: "nobody-has-this" });
  const outcomes = await send(attacker, first, second, third, makeEvent({ source: victimSource }));
  outcomes.push(...(await send(attacker, elsewhere)));
  expect(outcomes).toHaveLength(5);
  expect(new Set(outcomes.map((outcome) => JSON.stringify(outcome, replaceBigints))).size).toBe(1);
  expect(outcomes[0]).toMatchObject({ reason: "SOURCE_NOT_ALLOWED", leafIndex: undefined, nextSequence: 0n });
  expect(await rowDigests(audit.database.superuserUrl)).toEqual(before);
});

function replaceBigints(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

test.each(["Caseflow/case", `${victimSource}/`, "caseflow", "caseflow/*", "*", "%"])(
  "a token for source %j does not speak for the victim's",
  async (claimed) => {
    const before = await rowDigests(audit.database.superuserUrl);
    const [outcome] = await send(await audit.source([claimed]), makeEvent({ source: victimSource }));
    expect(outcome).toMatchObject({ reason: "SOURCE_NOT_ALLOWED" });
    expect(await rowDigests(audit.database.superuserUrl)).toEqual(before);
  },
);

test.each(["", `${victimSource} `, ` ${victimSource}`, `${victimSource}\0`])(
  "a token for source %j, which is none, is no token",
  async (claimed) => {
    const sent = send(await audit.source([victimSource, claimed]), makeEvent({ source: victimSource }));
    expect(await refusalOf(sent)).toBe("Unauthenticated UNAUTHENTICATED");
  },
);

test("what a source tells of another's subject neither joins nor stops the other's chain", async () => {
  const [first, second] = makeChain(2, { source: victimSource }) as [TestEvent, TestEvent];
  await send(victim, first);
  const squat = { source: attackerSource, subject: first.subject };
  const [taken] = await send(
    attacker,
    makeEvent({ ...squat, subjectSequence: 2n, previousDigest: first.digest }),
  );
  expect(taken).toMatchObject({ nextSequence: 1n });
  await send(attacker, makeEvent(squat));
  const [applied] = await send(victim, second);
  expect(applied).toMatchObject({ outcome: 1, reason: "" });
});

test("a batch of two tenants is refused whole", async () => {
  const before = await rowDigests(audit.database.superuserUrl);
  const tenantIds = [auditTenant, "other"];
  const events = tenantIds.map((tenantId) => makeEvent({ source: attackerSource, tenantId }).bytes);
  expect(await refusalOf(attacker.recordEvents({ events }))).toBe("InvalidArgument INVALID_REQUEST");
  expect(await rowDigests(audit.database.superuserUrl)).toEqual(before);
});
