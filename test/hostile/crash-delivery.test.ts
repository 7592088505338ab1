import { afterAll, beforeAll, expect, test } from "vitest";
import {
  attackDelivery,
  startDeliveryStage,
  startRelayHere,
  startRelayProcess,
  type DeliveryAttack,
  type DeliveryStage,
} from "../support/crash-delivery.ts";
import { atEveryPoint, cutStride, killStride } from "../support/crash-points.ts";
import { cutConnection } from "../support/crash-victims.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { createIssuer } from "../support/tokens.ts";

/*
 * The delivery, from message to message: between relay and PostgreSQL, from its log-in to its good-bye, and between relay and
 * audit service, frame by frame. At each of them something dies.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let stages: readonly DeliveryStage[];

beforeAll(async () => {
  const issuer = stack.use(await createIssuer());
  const stagesCount = killStride() === 1 ? 2 : 1; // They do not share what they have to start.
  stages = await Promise.all(
    Array.from({ length: stagesCount }, async () => stack.use(await startDeliveryStage(issuer))),
  );
});
afterAll(() => stack.disposeAsync());

/** Enough for a machine with little to spare. */
const timeout = 900_000;
/** At least so many messages has a delivery: log-ins, looks, lock, batch, removal; and frames: settings, request, answer. */
const messagesMin = { toDatabase: 60, toAudit: 8 };

const here = { startRelay: startRelayHere, survives: true } as const;
const apart = { startRelay: startRelayProcess, survives: false } as const;
const kill: DeliveryAttack["fault"] = (_stage, relay) => ({
  strike: () => relay().kill(),
  recover: async () => {},
});

test.each<[string, string, DeliveryAttack, () => number]>([
  [
    "its connection to PostgreSQL is cut",
    "there",
    { ...here, way: "toDatabase", fault: () => cutConnection },
    killStride, // A relay that was cut off rests before it tries again.
  ],
  [
    "its connection to the audit service is cut",
    "there",
    { ...here, way: "toAudit", fault: () => cutConnection },
    cutStride,
  ],
  [
    "the audit service is killed",
    "between the two",
    { ...here, way: "toAudit", fault: ({ killAudit }) => killAudit },
    killStride,
  ],
  ["the relay is killed", "to PostgreSQL", { ...apart, way: "toDatabase", fault: kill }, killStride],
  ["the relay is killed", "to the audit service", { ...apart, way: "toAudit", fault: kill }, killStride],
])(
  "when a relay delivers and %s before or after any message %s, no transition is lost and none is told twice",
  { timeout },
  async (_what, _where, attack, stride) => {
    const strike = (stage: DeliveryStage, point: Parameters<typeof attackDelivery>[2]) =>
      attackDelivery(stage, attack, point);
    const struck = await atEveryPoint(stages, strike, stride());
    expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual(
      Math.floor((2 * messagesMin[attack.way]) / stride()),
    );
  },
);
