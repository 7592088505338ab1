import { metrics } from "@opentelemetry/api";
import type { Log } from "#libs/telemetry/log.ts";
import type { RefusalReason, Sealing } from "./seal-log.ts";

/** What has to be done where a log is not signed. */
const remedies: Record<RefusalReason, string> = {
  rolled_back: "bring the lost events back (caseflow reconcile --repair), or restore the log from a mirror",
  forked: "restore the log from a mirror: what it holds now was never signed",
  damaged: "build the tree anew from the events, or restore the log from a mirror",
  state_unusable: "put the newest checkpoint that you trust into the file",
};

/** A refusal that lasts is told again after this time. */
const repeatMs = 60_000;

export interface SealEvents {
  /** What became of one attempt; `file` is where the log's last checkpoint is kept. */
  tell(tenantId: string, sealing: Sealing, file: string): void;
}

/** Tells of checkpoints and refusals: in counters under `caseflow.log`, and of refusals and their end in the log. */
export function createSealEvents(log: Log, nowMs = () => performance.now()): SealEvents {
  const meter = metrics.getMeter("caseflow.log");
  const checkpoints = meter.createCounter("caseflow.log.checkpoints", { description: "Checkpoints signed" });
  const refusals = meter.createCounter("caseflow.log.refusals", {
    description: "Attempts to sign a log that does not extend its last checkpoint, by why",
  });
  // There from the start, so that a first one shows as a rise.
  checkpoints.add(0);
  for (const why of Object.keys(remedies)) refusals.add(0, { why });
  const refused = new Map<string, { readonly why: RefusalReason; readonly toldAt: number }>();
  return {
    tell(tenantId, sealing, file) {
      if (sealing.kind !== "refused") {
        if (sealing.kind === "sealed") checkpoints.add(1);
        if (refused.delete(tenantId)) log.info({ tenant_id: tenantId }, "the log is signed again");
        return;
      }
      const { why, detail } = sealing;
      refusals.add(1, { why });
      const told = refused.get(tenantId);
      const now = nowMs();
      if (told?.why === why && now - told.toldAt < repeatMs) return;
      refused.set(tenantId, { why, toldAt: now });
      log.error({ tenant_id: tenantId, why, detail, file, remedy: remedies[why] }, "the log is not signed");
    },
  };
}
