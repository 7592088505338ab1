import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type pg from "pg";
import { type Event, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { sha256 } from "./made-log.ts";
import type { SealedEvent } from "./sealed-log.ts";

/* What somebody who has all rights in the audit database can do to a log that is tenant `acme`'s alone. */

/** Takes away what the schema holds of events; what finds them stays. */
export const unbind = `
  ALTER TABLE events DROP CONSTRAINT events_digest_holds, DROP CONSTRAINT events_pkey,
                     DROP CONSTRAINT events_id_once, DROP CONSTRAINT events_sequence_once;
  CREATE INDEX ON events (tenant_id, leaf_index)`;

/** Tiles and tree state are made anew from the events, by the signer or the next append. */
export const forgetTree = "DELETE FROM tiles; UPDATE logs SET tree_size = 0, tree_edge = ''";
export const forgetCheckpoints = "DELETE FROM checkpoints; DELETE FROM verifier_keys";

/** Puts other bytes in an event's place, with the digest that fits them. */
export async function rewrite(superuser: pg.Client, leafIndex: number, bytes: Uint8Array): Promise<void> {
  await superuser.query("UPDATE events SET bytes = $2, digest = sha256($2) WHERE leaf_index = $1", [
    leafIndex,
    bytes,
  ]);
}

type Changes = Partial<Pick<Event, "requestId" | "previousDigest">>;

/** Rewrites an event and, so that the chain holds, every later one of its subject. */
export async function rewriteHistory(
  superuser: pg.Client,
  events: readonly SealedEvent[],
  leafIndex: number,
  changes: Changes,
): Promise<void> {
  let own: Changes = changes;
  for (let at: number | undefined = leafIndex; at !== undefined; at = events[at]!.nextLeaf) {
    const changed = create(EventSchema, { ...fromBinary(EventSchema, events[at]!.bytes), ...own });
    const bytes = toBinary(EventSchema, changed);
    await rewrite(superuser, at, bytes);
    own = { previousDigest: sha256(bytes) };
  }
}

/** Removes a leaf, and closes the gap. */
export async function drop(superuser: pg.Client, leafIndex: number): Promise<void> {
  await superuser.query("DELETE FROM events WHERE leaf_index = $1", [leafIndex]);
  await superuser.query("UPDATE events SET leaf_index = leaf_index - 1 WHERE leaf_index > $1", [leafIndex]);
  await fitSize(superuser);
}

/** Puts an event before the leaf that stands at its place, or behind all; whose columns are those of the first leaf. */
export async function insert(superuser: pg.Client, leafIndex: number, bytes: Uint8Array): Promise<void> {
  await superuser.query("UPDATE events SET leaf_index = leaf_index + 1 WHERE leaf_index >= $1", [leafIndex]);
  const { eventId, source, type, subject, subjectSequence } = fromBinary(EventSchema, bytes);
  await superuser.query(
    `INSERT INTO events (tenant_id, leaf_index, event_id, source, type, subject, subject_sequence, actor_id, occurred_at,
                         recorded_at, received_at, digest, bytes)
     SELECT tenant_id, $1, $2, $3, $4, $5, $6, actor_id, occurred_at, recorded_at, received_at, sha256($7), $7
       FROM events WHERE leaf_index = 0`,
    [leafIndex, eventId, source, type, subject, subjectSequence, bytes],
  );
  await fitSize(superuser);
}

/** Two leaves change places. */
export async function swap(superuser: pg.Client, one: number, other: number): Promise<void> {
  await superuser.query(
    "UPDATE events SET leaf_index = $1::bigint + $2::bigint - leaf_index WHERE leaf_index IN ($1, $2)",
    [one, other],
  );
}

async function fitSize(superuser: pg.Client): Promise<void> {
  await superuser.query(`${forgetTree}; UPDATE logs SET size = (SELECT count(*) FROM events)`);
}

/** Turns one bit of a stored value: `column` of the rows of `table` for which `where` holds. Turned twice it is as it was. */
export async function turnBit(
  superuser: pg.Client,
  { table, column, where }: { readonly table: string; readonly column: string; readonly where: string },
  bit: number,
): Promise<void> {
  const turned = `set_bit(${column}, ${bit}, 1 - get_bit(${column}, ${bit}))`;
  await superuser.query(`UPDATE ${table} SET ${column} = ${turned} WHERE ${where}`);
}
