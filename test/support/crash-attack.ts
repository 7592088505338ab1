import { expect } from "vitest";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { CaseClient } from "#libs/client/case-client.ts";
import { openCase, type PersonName } from "./case-service.ts";
import { within, type Point, type Struck } from "./crash-points.ts";
import type { Connection, CrashProxy } from "./crash-proxy.ts";
import { prepare, send, settle, tracesOf, type Write } from "./crash-write.ts";
import { openSuperuser } from "./superuser.ts";

/** A case service to be attacked, and the proxy between it and its database. */
export interface CaseVictim {
  readonly proxy: CrashProxy;
  /** A client of the service as it runs now. */
  as(person: PersonName, tenant?: string): Promise<CaseClient>;
  /** An operator's client of it. */
  admin(tenant?: string): Promise<CaseAdminClient>;
}

/** What dies at a crash point. */
export interface Fault {
  /** Brings it down; resolves once it is. */
  strike(struck: Connection): void | Promise<void>;
  /** Brings back what does not come back by itself. */
  recover(): Promise<void>;
}

/** A case service under attack, and what is done to it. */
export interface WriteStage {
  readonly superuserUrl: string;
  readonly victim: CaseVictim;
  readonly fault: Fault;
  /** Whose writes are counted: each stage has a tenant of its own. */
  readonly tenant: string;
}

const callMs = 5_000;
export const strikeMs = 20_000;

/** What a write may be told when everything is well but the connection; and a client whose service was killed. */
export const allowed = [
  "accepted",
  "Unavailable OUTCOME_UNKNOWN",
  "Unavailable DEPENDENCY_DOWN",
  "Unavailable (no reason)",
  "Canceled (no reason)",
];

/**
 * Makes a write, lets the fault strike at the point, and checks that the write is there whole or not at all, that what
 * its caller was told is true, and that a retry settles it.
 */
export async function attackWrite(stage: WriteStage, write: Write, point: Point): Promise<Struck> {
  const { victim, fault, tenant } = stage;
  await openCase(victim, "submitted", tenant); // Connected, and all is prepared that the write needs.
  const attempt = await prepare(victim, write, tenant);
  const { effect } = write;
  const client = () => victim.as(write.by, tenant);
  const sender = await client();

  const strike = victim.proxy.arm({
    ...point,
    counts: ({ opening }) => opening.includes(`app.tenant_id = '${tenant}'`),
    act: (struck) => fault.strike(struck),
  });
  const told = await send(sender, attempt, callMs);
  const struckAt = strike.struckAt;
  if (struckAt === undefined) {
    strike.disarm();
    expect(told).toEqual({ outcome: "accepted", replayed: false, version: effect.version });
    return undefined;
  }
  await within(strikeMs, `the strike at ${struckAt}`, strike.over);
  await fault.recover();

  await using superuser = await openSuperuser(stage.superuserUrl);
  const traces = await tracesOf(superuser, attempt);
  expect([attempt.before, effect], `left behind at ${struckAt}`).toContainEqual(traces);
  const isDone = traces.entries === 1;
  expect(allowed, `told at ${struckAt}`).toContain(told.outcome);
  if (told.outcome === "accepted") expect(isDone, `${struckAt}: told that it is done`).toBe(true);
  if (told.outcome.endsWith("DEPENDENCY_DOWN"))
    expect(isDone, `${struckAt}: told that it is not done`).toBe(false);

  const settled = await settle(client, attempt, callMs);
  expect(settled, `a retry after ${struckAt}`).toMatchObject({
    outcome: "accepted",
    version: effect.version,
  });
  if (isDone || settled.tries === 1) expect(settled.replayed, `a retry after ${struckAt}`).toBe(isDone);
  expect(await tracesOf(superuser, attempt), `settled after ${struckAt}`).toEqual(effect);
  return `${struckAt}: ${isDone ? "done" : "not done"}`;
}
