import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "./support/audit-service.ts";
import { makeChain, makeEvent, type TestEvent } from "./support/events.ts";
import { refusalOf } from "./support/reason-of.ts";

const otherSource = "test/another";
/** In the order of their UTF-8, which is neither that of a language nor that of JavaScript's strings. */
const subjects = ["-", "Zebra", "a", "a-1", "a1", "z", "é", "\u{e000}", "\u{10000}"];

let audit: AuditServiceFixture;
let source: AuditClient;

beforeAll(async () => {
  audit = await startAuditService();
  source = await audit.source([testSource, otherSource]);
});
afterAll(() => audit[Symbol.asyncDispose]());

async function deliver(events: readonly TestEvent[]): Promise<void> {
  const { outcomes } = await source.recordEvents({ events: events.map(({ bytes }) => bytes) });
  expect(outcomes.map(({ reason }) => reason)).toEqual(events.map(() => ""));
}

/** Every head as `source subject sequence`, by pages of `pageSize`. */
async function walk(reader: AuditClient, pageSize: number, of = ""): Promise<string[]> {
  const heads: string[] = [];
  for (let pageToken = "", pages = 0; pages === 0 || pageToken !== ""; pages++) {
    expect(pages, "the pages end").toBeLessThan(50);
    const page = await reader.listSubjectHeads({ pageSize, pageToken, source: of });
    expect(page.heads.length).toBeLessThanOrEqual(pageSize);
    heads.push(
      ...page.heads.map(
        ({ source: told, subject, lastSequence }) => `${told} ${subject} ${String(lastSequence)}`,
      ),
    );
    pageToken = page.nextPageToken;
  }
  return heads;
}

test("the pages give the head of each subject once, by source and the bytes of the subject, and of one source alone when it is named", async () => {
  const tenantId = "heads-in-order";
  const shuffled = subjects.toSorted((one, other) => one.length - other.length || (one < other ? 1 : -1));
  for (const named of [testSource, otherSource]) {
    await deliver(shuffled.map((subject) => makeEvent({ tenantId, source: named, subject })));
  }
  await deliver([makeEvent({ tenantId: "somebody-else" })]);
  const reader = await audit.auditor(tenantId);
  const expected = [otherSource, testSource].map((of) => subjects.map((subject) => `${of} ${subject} 1`));
  for (const pageSize of [1, 4, 500]) {
    expect(await walk(reader, pageSize)).toEqual(expected.flat());
    expect(await walk(reader, pageSize, testSource)).toEqual(expected[1]);
  }
  expect(await walk(reader, 4, "test/unknown")).toEqual([]);
});

test("a head is the sequence and digest of its subject's last event", async () => {
  const tenantId = "heads-move";
  const chain = makeChain(3, { tenantId });
  const reader = await audit.auditor(tenantId);
  for (const event of chain) {
    await deliver([event]);
    const { heads } = await reader.listSubjectHeads({});
    const [head, ...others] = heads.map(({ lastSequence, lastDigest, ...names }) => ({
      ...{ source: names.source, subject: names.subject, lastSequence },
      digest: Buffer.from(lastDigest),
    }));
    const { subject, sequence: lastSequence, digest } = event;
    expect(head).toEqual({ source: testSource, subject, lastSequence, digest: Buffer.from(digest) });
    expect(others).toEqual([]);
  }
});

test("the longest subject in the longest characters still has a page after it", async () => {
  const tenantId = "heads-of-length";
  const longest = "\u{10ffff}".repeat(255);
  const both = [`${longest}\u{10fffe}`, `${longest}\u{10ffff}`];
  await deliver(both.map((subject) => makeEvent({ tenantId, subject })));
  const reader = await audit.auditor(tenantId);
  expect(await walk(reader, 1)).toEqual(both.map((subject) => `${testSource} ${subject} 1`));
});

test("a subject that is new behind the page is found, and one that moves on is given once", async () => {
  const tenantId = "heads-grow";
  const [first, second] = makeChain(2, { tenantId, subject: "m" });
  await deliver([makeEvent({ tenantId, subject: "b" }), first!]);
  const reader = await audit.auditor(tenantId);
  const page = await reader.listSubjectHeads({ pageSize: 1 });
  await deliver([second!, makeEvent({ tenantId, subject: "a" }), makeEvent({ tenantId, subject: "z" })]);
  const { heads } = await reader.listSubjectHeads({ pageToken: page.nextPageToken });
  expect(heads.map(({ subject, lastSequence }) => [subject, lastSequence])).toEqual([
    ["m", 2n],
    ["z", 1n],
  ]);
});

test("a page has 50 heads when no size is asked for, and a page of 501 is refused", async () => {
  const tenantId = "heads-by-default";
  await deliver(Array.from({ length: 51 }, () => makeEvent({ tenantId })));
  const reader = await audit.auditor(tenantId);
  expect((await reader.listSubjectHeads({})).heads).toHaveLength(50);
  expect(await refusalOf(reader.listSubjectHeads({ pageSize: 501 }))).toBe("InvalidArgument INVALID_REQUEST");
});

test("a page token serves its own source, with any page size, and no other source or tenant", async () => {
  const tenantId = "heads-by-token";
  await deliver([makeEvent({ tenantId }), makeEvent({ tenantId })]);
  const reader = await audit.auditor(tenantId);
  const { nextPageToken: pageToken } = await reader.listSubjectHeads({ source: testSource, pageSize: 1 });
  const ask = (through: AuditClient, of: string, pageSize = 0) =>
    refusalOf(through.listSubjectHeads({ source: of, pageToken, pageSize }));
  expect(await ask(reader, testSource, 7)).toBe("accepted");
  expect(await ask(reader, "")).toBe("InvalidArgument PAGE_TOKEN_INVALID");
  expect(await ask(reader, otherSource)).toBe("InvalidArgument PAGE_TOKEN_INVALID");
  expect(await ask(await audit.auditor("neighbour"), testSource)).toBe("InvalidArgument PAGE_TOKEN_INVALID");
});
