import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import { expect } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { DeliveryOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { tilesOf, tileWidth } from "#libs/merkle/tile.ts";
import { strikeMs, type Fault } from "./crash-attack.ts";
import { within, type Point, type Struck } from "./crash-points.ts";
import type { CrashProxy } from "./crash-proxy.ts";
import { makeChain, type TestEvent } from "./events.ts";
import { refusalOf } from "./reason-of.ts";
import { openSuperuser } from "./superuser.ts";

/** An audit service to be attacked, and the proxy between it and its database. */
export interface AuditVictim {
  readonly proxy: CrashProxy;
  /** A client, which may deliver, of the service as it runs now. */
  source(): Promise<AuditClient>;
}

export interface AppendStage {
  readonly superuserUrl: string;
  readonly victim: AuditVictim;
  readonly fault: Fault;
  /** Whose appends are counted: each stage has a tenant of its own. */
  readonly tenant: string;
  /** Whether each batch is to fill a tile, which takes many events before it. */
  readonly fillsTile: boolean;
}

/** What there is of a batch in the database, and how large its tenant's log and tree are. */
interface Traces {
  readonly events: number;
  readonly heads: number;
  readonly size: number;
  readonly treeSize: number;
  readonly tiles: number;
}

const callMs = 5_000;
const retryPauseMs = 10;

/**
 * Delivers a batch of two subjects, lets the fault strike at the point, and checks that the batch is in the log
 * whole or not at all, with its heads, the log's size, its tree and the tiles that it fills, that what its source was told is true, and that a
 * retry settles it.
 */
export async function attackAppend(stage: AppendStage, point: Point): Promise<Struck> {
  const { victim, fault, tenant } = stage;
  const { APPLIED, DUPLICATE } = DeliveryOutcome;
  const sender = await victim.source();
  await record(sender, makeChain(1, { tenantId: tenant })); // Connected, and all is prepared that an append needs.
  const batch = [...makeChain(2, { tenantId: tenant }), ...makeChain(1, { tenantId: tenant })];
  const { size } = await lookOnce(stage, batch);
  const filler = stage.fillsTile ? tileWidth - 1 - (size % tileWidth) : 0;
  if (filler > 0) await record(sender, makeChain(filler, { tenantId: tenant }));
  const before = await lookOnce(stage, batch);
  const grown = before.size + batch.length;
  const tiles = [...tilesOf(grown)].filter(({ width }) => width === tileWidth).length;
  const applied = { events: batch.length, heads: 2, size: grown, treeSize: grown, tiles };
  if (stage.fillsTile) expect(tiles).toBeGreaterThan(before.tiles);

  const strike = victim.proxy.arm({
    ...point,
    counts: ({ opening }) => opening.includes(`app.tenant_id = '${tenant}'`),
    act: (struck) => fault.strike(struck),
  });
  const told = await record(sender, batch);
  const struckAt = strike.struckAt;
  if (struckAt === undefined) {
    strike.disarm();
    expect(told).toEqual(batch.map(() => APPLIED));
    return undefined;
  }
  await within(strikeMs, `the strike at ${struckAt}`, strike.over);
  await fault.recover();

  const traces = await lookOnce(stage, batch);
  expect([before, applied], `left behind at ${struckAt}`).toContainEqual(traces);
  const isDone = traces.events > 0;
  if (typeof told !== "string") expect(isDone, `${struckAt}: told ${told.join()}`).toBe(true);
  if (told === "Unavailable DEPENDENCY_DOWN") expect(isDone, `${struckAt}: told it is not done`).toBe(false);

  let settled = await record(await victim.source(), batch);
  const until = performance.now() + strikeMs;
  for (; typeof settled === "string" && performance.now() < until; await pause(retryPauseMs))
    settled = await record(await victim.source(), batch);
  expect([batch.map(() => (isDone ? DUPLICATE : APPLIED)), batch.map(() => DUPLICATE)]).toContainEqual(
    settled,
  );
  expect(await lookOnce(stage, batch), `settled after ${struckAt}`).toEqual(applied);
  return `${struckAt}: ${isDone ? "done" : "not done"}`;
}

/** The outcomes, or how the call was refused. */
async function record(
  client: AuditClient,
  batch: readonly TestEvent[],
): Promise<readonly DeliveryOutcome[] | string> {
  const answer = client.recordEvents({ events: batch.map(({ bytes }) => bytes) }, { timeoutMs: callMs });
  const outcome = await within(callMs + 2_000, "an answer to a batch", refusalOf(answer));
  return outcome === "accepted" ? (await answer).outcomes.map((told) => told.outcome) : outcome;
}

async function lookOnce(stage: AppendStage, batch: readonly TestEvent[]): Promise<Traces> {
  await using superuser = await openSuperuser(stage.superuserUrl);
  return await tracesOf(superuser, stage.tenant, batch);
}

async function tracesOf(superuser: pg.Client, tenant: string, batch: readonly TestEvent[]): Promise<Traces> {
  const { rows } = await superuser.query<Traces>(
    `SELECT (SELECT count(*)::int FROM events WHERE tenant_id = $1 AND event_id = ANY ($2)) AS events,
            (SELECT count(*)::int FROM subject_heads WHERE tenant_id = $1 AND subject = ANY ($3)) AS heads,
            (SELECT size::int FROM logs WHERE tenant_id = $1) AS size,
            (SELECT tree_size::int FROM logs WHERE tenant_id = $1) AS "treeSize",
            (SELECT count(*)::int FROM tiles WHERE tenant_id = $1) AS tiles`,
    [tenant, batch.map(({ eventId }) => eventId), batch.map(({ subject }) => subject)],
  );
  return rows[0]!; // One, always.
}
