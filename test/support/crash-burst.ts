import { expect } from "vitest";
import { strikeMs, type CaseVictim, type Fault } from "./crash-attack.ts";
import { within } from "./crash-points.ts";
import type { Message } from "./crash-proxy.ts";
import { newTenant } from "./crash-victims.ts";
import { prepare, send, settle, tracesOfAll, writes, type Attempt, type Told } from "./crash-write.ts";
import { refusalOf } from "./reason-of.ts";
import { openSuperuser } from "./superuser.ts";

/** When in the burst the fault strikes. */
export type BurstPoint = "none is answered" | "half are answered";

/** A connection takes so many calls at a time and a bit more, and each tenant has one of its own. */
const perTenant = 100;
const callMs = 20_000;
/** As many as the service's pool has: the first writes of the burst, while the others wait for one. */
export const connections = 20;

/**
 * Sends `writesCount` writes at once, hundreds of them, half of them creations, and lets the fault strike when the database has committed the first,
 * of which nobody has heard yet, or half of them. Each write is there whole or not at all; then all are settled by retries.
 */
export async function attackBurst(
  { victim, fault, superuserUrl }: { victim: CaseVictim; fault: Fault; superuserUrl: string },
  writesCount: number,
  point: BurstPoint,
): Promise<void> {
  const tenants = Array.from({ length: writesCount / perTenant }, newTenant);
  const attempts = (await Promise.all(tenants.map((tenant) => prepareMany(victim, tenant)))).flat();

  let answered = 0;
  let answeredBefore: number | undefined;
  const sendAttempt = async (attempt: Attempt): Promise<Told> => {
    const client = await victim.as(attempt.write.by, attempt.tenant);
    const told = await send(client, attempt, callMs);
    if (told.outcome === "accepted") answered += 1;
    return told;
  };
  const firstCount = point === "none is answered" ? connections : writesCount;
  const rest = Promise.withResolvers<Told[]>();
  const strike = victim.proxy.arm({
    n: point === "none is answered" ? 1 : writesCount / 2,
    when: "before",
    counts: isCommitted,
    async act(struck) {
      rest.resolve(Promise.all(attempts.slice(firstCount).map(sendAttempt)));
      await Promise.all(tenants.map((tenant) => untilRead(victim, tenant)));
      answeredBefore = answered;
      await fault.strike(struck);
    },
  });
  const first = await Promise.all(attempts.slice(0, firstCount).map(sendAttempt));
  expect(strike.struckAt).toBe("server C COMMIT");
  await within(strikeMs, "the strike", strike.over);
  const told = [...first, ...(await within(2 * callMs, "the rest of the burst", rest.promise))];
  if (point === "none is answered") expect(answeredBefore).toBe(0);
  else expect(answeredBefore).toBeGreaterThan(0);
  expect(answeredBefore).toBeLessThan(writesCount);
  await fault.recover();

  await using superuser = await openSuperuser(superuserUrl);
  for (const [index, traces] of (await tracesOfAll(superuser, attempts)).entries()) {
    const { before, write } = attempts[index]!;
    expect([before, write.effect]).toContainEqual(traces);
    if (told[index]?.outcome === "accepted") expect(traces, "told that it is done").toEqual(write.effect);
  }
  const settled = await Promise.all(
    attempts.map((attempt) => settle(() => victim.as(attempt.write.by, attempt.tenant), attempt, callMs)),
  );
  expect(settled.filter(({ outcome }) => outcome !== "accepted")).toEqual([]);
  expect(await tracesOfAll(superuser, attempts)).toEqual(attempts.map(({ write }) => write.effect));
}

/** Waits until the service has read all that was sent to it so far for this tenant: what it refuses unasked comes back. */
async function untilRead(victim: CaseVictim, tenant: string): Promise<void> {
  const client = await victim.as("caseworker", tenant);
  expect(await refusalOf(client.getCase({ caseId: "" }, { timeoutMs: callMs }))).toContain("INVALID_REQUEST");
}

/** One after the other: what is prepared has the ordinary time limit. */
async function prepareMany(victim: CaseVictim, tenant: string): Promise<Attempt[]> {
  const attempts: Attempt[] = [];
  for (let index = 0; index < perTenant; index++)
    attempts.push(await prepare(victim, index % 2 === 0 ? writes.create : writes.submit, tenant));
  return attempts;
}

/** The database's word that a write, and no load, has been committed. */
function isCommitted({ side, text, opening }: Message): boolean {
  const isWrite = opening.includes("app.tenant_id = ") && !opening.includes("READ ONLY");
  return side === "server" && isWrite && text.startsWith("C") && text.includes("COMMIT");
}
