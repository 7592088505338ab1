import type pg from "pg";
import { expect } from "vitest";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { createReference } from "#libs/merkle/slow-reference.ts";

const width = 256;

/** What the database says of a log's tree. */
interface LogRow {
  readonly tenant_id: string;
  readonly size: number;
  readonly tree_size: number;
  readonly tree_edge: Buffer;
}

/**
 * Every log's tree state, tiles and checkpoints, or those of one tenant's log, are those of the tree over all its stored
 * bytes, computed anew as RFC 9162 defines it.
 */
export async function expectSoundTrees(superuser: pg.Client, tenant = "%"): Promise<void> {
  // One snapshot, whatever is appended meanwhile.
  await superuser.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
  const { rows } = await superuser.query<LogRow>(
    "SELECT tenant_id, size::int, tree_size::int, tree_edge FROM logs WHERE tenant_id LIKE $1",
    [tenant],
  );
  for (const log of rows) {
    expect(log.tree_size, `leaves in the tree of ${log.tenant_id}`).toBe(log.size);
    await expectSoundTree(superuser, log);
  }
  await superuser.query("COMMIT");
}

async function expectSoundTree(superuser: pg.Client, log: LogRow): Promise<void> {
  const { tenant_id: tenant, tree_size: size } = log;
  const reference = await readReference(superuser, tenant);
  const edge = perfectRanges(size).map(([start, end]) => reference.rootOfRange(start, end));
  expect(log.tree_edge.equals(Buffer.concat(edge)), `edge of ${tenant} at ${size}`).toBe(true);

  const tiles = await superuser.query<{ level: number; index: number; hashes: Buffer; root: Buffer }>(
    "SELECT level, tile_index::int AS index, hashes, root FROM tiles WHERE tenant_id = $1 ORDER BY level, tile_index",
    [tenant],
  );
  expect(
    tiles.rows.map(({ level, index }) => [level, index]),
    `tiles of ${tenant}`,
  ).toEqual(fullTiles(size));
  for (const { level, index, hashes, root } of tiles.rows) {
    const span = width ** level;
    const start = index * width * span;
    const expected = Array.from({ length: width }, (_, at) =>
      reference.rootOfRange(start + at * span, start + (at + 1) * span),
    );
    const name = `tile ${level}/${index} of ${tenant}`;
    expect(hashes.equals(Buffer.concat(expected)), name).toBe(true);
    expect(root.equals(reference.rootOfRange(start, start + width * span)), `root of ${name}`).toBe(true);
  }

  const checkpoints = await superuser.query<{ size: number; note: string }>(
    "SELECT tree_size::int AS size, note FROM checkpoints WHERE tenant_id = $1",
    [tenant],
  );
  for (const stored of checkpoints.rows) {
    const signed = readCheckpoint(stored.note.slice(0, stored.note.lastIndexOf("\n\n") + 1));
    expect(signed.size).toBe(stored.size);
    expect(stored.size, `a checkpoint of ${tenant}`).toBeLessThanOrEqual(size);
    const root = Buffer.from(reference.root(stored.size));
    expect(root.equals(signed.root), `root of ${tenant} that was signed at ${stored.size}`).toBe(true);
  }
}

/** The tree over a log's stored bytes, as the database holds them now. */
export async function readReference(
  superuser: pg.Client,
  tenant: string,
): Promise<ReturnType<typeof createReference>> {
  const { rows } = await superuser.query<{ bytes: Buffer }>(
    "SELECT bytes FROM events WHERE tenant_id = $1 ORDER BY leaf_index",
    [tenant],
  );
  return createReference((index) => rows[index]!.bytes);
}

/** The perfect subtrees that the first `size` leaves consist of, largest first. */
function perfectRanges(size: number): [start: number, end: number][] {
  const ranges: [number, number][] = [];
  let start = 0;
  for (let count = 2 ** 40; count >= 1; count /= 2) {
    if (size - start < count) continue;
    ranges.push([start, start + count]);
    start += count;
  }
  return ranges;
}

/** Level and index of every full tile, in the order of both. */
function fullTiles(size: number): [level: number, index: number][] {
  const tiles: [number, number][] = [];
  for (let level = 0, full = Math.floor(size / width); full > 0; level++, full = Math.floor(full / width)) {
    for (let index = 0; index < full; index++) tiles.push([level, index]);
  }
  return tiles;
}
