import { parse } from "csv-parse/sync";
import { expect, test } from "vitest";
import { EventSchema, ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { makeEvent, type EventChanges } from "#test/support/events.ts";
import { csv } from "./csv.ts";

/** The line of an event, as a reader of CSV takes it. */
function lineOf(changes: EventChanges, leafIndex = 7n): { text: string; row: Record<string, string> } {
  const { bytes, digest } = makeEvent(changes);
  const times = { receivedAtMicros: 1_700_000_002_000_003n, sealedAtMicros: undefined };
  const text = csv.toLine({ leafIndex, bytes, digest, ...times });
  const [row] = parse<Record<string, string>>(csv.header + text, { columns: true });
  return { text, row: row! };
}

test("every field of an event has a column, and so have its place, its digest and when it was received", () => {
  const names = new Set(csv.header.trimEnd().split(","));
  const expected = EventSchema.fields.flatMap(({ name, message }) => {
    const isPart = ["actor", "tombstone", "reconciliation"].includes(name);
    return isPart ? message!.fields.map((inner) => `${name}_${inner.name}`) : [name];
  });
  expect([...names]).toEqual(expect.arrayContaining([...expected, "leaf_index", "digest", "received_at"]));
  expect(names.size).toBe(expected.length + 3);
});

test("a line tells what the event does", () => {
  const digest = Buffer.from("ab".repeat(32), "hex");
  const { text, row } = lineOf({
    ...{ eventId: "0199e6a2-7a7e-7a31-b7a0-0d4c1f6a9b52", subject: "c-1", subjectSequence: 3n },
    ...{ decisionHash: digest, reason: "sound", fromState: "a", toState: "b", aboutEventIds: ["x", "y"] },
    actor: { id: "ada", kind: ActorKind.SERVICE, roles: ["clerk", "reviewer"], onBehalfOf: "grace" },
    tombstone: { originalDigest: digest, originalEventId: "x", reason: "given up" },
    reconciliation: { source: "a/b", treeSize: 9n, rootHash: digest, entryCount: 8n, entriesDigest: digest },
  });
  expect(row).toMatchObject({
    ...{ leaf_index: "7", subject_sequence: "3", subject: "c-1", reason: "sound", from_state: "a" },
    ...{ actor_id: "ada", actor_kind: "service", actor_roles: "clerk reviewer" },
    ...{ actor_on_behalf_of: "grace", decision_hash: "ab".repeat(32), tombstone_reason: "given up" },
    ...{ occurred_at: "2023-11-14T22:13:20.123456789Z", received_at: "2023-11-14T22:13:22.000003Z" },
    ...{
      tombstone_original_digest: "ab".repeat(32),
      tenant_id: "acme",
      assignee_id: "",
      about_event_ids: "x y",
    },
    ...{ reconciliation_source: "a/b", reconciliation_tree_size: "9", reconciliation_entry_count: "8" },
    ...{ reconciliation_root_hash: "ab".repeat(32), reconciliation_entries_digest: "ab".repeat(32) },
  });
  expect(text).toMatch(/[^\r]\r\n$/);
});

test.each(["=1+2", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=x", "＝1", "＋1", "－1", "＠x", "'=1", "'"])(
  "%j is no formula in a spreadsheet, and can be had back",
  (reason) => {
    const { row } = lineOf({ reason });
    expect(row["reason"]).toBe(`'${reason}`);
  },
);

test.each(["a,b", 'say "so"', "two\nlines", "two\r\nlines", " edge ", '"', "1-2", "a=b", "it's", "ü☃💥"])(
  "%j comes back as it is",
  (reason) => {
    expect(lineOf({ reason }).row["reason"]).toBe(reason);
  },
);
