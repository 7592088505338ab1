import { compareSides, type Finding, type Outcome, type Sides } from "./compare-sides.ts";
import { createRequeuer } from "./requeue.ts";

/** How much was looked at, what was found, and how much of it was queued again. */
export interface Totals extends Record<Outcome, number> {
  readonly entries: number;
  readonly events: number;
  readonly requeued: number;
}

/**
 * Compares both sides; with `repair`, what is missing is queued for delivery again. `confirm` looks closer where the two agree, and
 * reports what it finds.
 */
export async function reconcile(
  sides: Sides,
  repair: boolean,
  confirm?: (onFinding: Sides["onFinding"]) => Promise<void>,
): Promise<Totals> {
  const found = { missing: 0, unexpected: 0, different: 0, pending: 0 };
  const requeuer = createRequeuer(sides.admin);
  const onFinding = async (finding: Finding): Promise<void> => {
    found[finding.outcome] += 1;
    await sides.onFinding(finding);
    if (repair && finding.outcome === "missing") await requeuer.add(finding.eventId);
  };
  const compared = await compareSides({ ...sides, onFinding });
  if (agree(found)) await confirm?.(onFinding);
  return { ...compared, ...found, requeued: await requeuer.finish() };
}

/** Whether the two agree: what waits for its delivery is no difference. */
export function agree({ missing, unexpected, different }: Record<Outcome, number>): boolean {
  return missing + unexpected + different === 0;
}
