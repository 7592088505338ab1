import { type Meter, metrics } from "@opentelemetry/api";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLog } from "#libs/telemetry/log.ts";
import { createSealEvents, type SealEvents } from "./seal-events.ts";
import type { Sealing } from "./seal-log.ts";

const refused: Sealing = { kind: "refused", why: "rolled_back", detail: "5 leaves are left of 9" };
const forked: Sealing = { kind: "refused", why: "forked", detail: "the first 9 leaves are others" };
const sealed: Sealing = { kind: "sealed", treeSize: 9 };

let lines: Record<string, unknown>[];
let counted: unknown[];
let nowMs: number;
let events: SealEvents;

beforeEach(() => {
  [lines, counted, nowMs] = [[], [], 0];
  const createCounter = (name: string) => ({
    add: (count: number, attributes?: unknown) => counted.push([name, count, attributes]),
  });
  metrics.setGlobalMeterProvider({ getMeter: () => ({ createCounter }) as unknown as Meter });
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  events = createSealEvents(
    createLog({ service: "audit", version: "test", commit: "test", level: "info", destination }),
    () => nowMs,
  );
});
afterEach(() => metrics.disable());

const told = () => lines.map(({ level, why }) => [level, why]);

test("a refusal is an error that says why and what to do, once a minute while it lasts, and at once when it changes", () => {
  events.tell("acme", refused, "/signer/acme.checkpoint");
  expect(lines[0]).toMatchObject({
    level: "error",
    msg: "the log is not signed",
    tenant_id: "acme",
    why: "rolled_back",
    detail: "5 leaves are left of 9",
    file: "/signer/acme.checkpoint",
    remedy: expect.stringMatching(/bring the lost events back/),
  });
  nowMs = 59_999;
  events.tell("acme", refused, "");
  expect(told()).toEqual([["error", "rolled_back"]]);
  events.tell("acme", forked, "");
  events.tell("other", refused, "");
  nowMs = 120_000;
  events.tell("acme", forked, "");
  expect(told().slice(1)).toEqual([
    ["error", "forked"],
    ["error", "rolled_back"],
    ["error", "forked"],
  ]);
});

test("the end of a refusal is told once, and a log that never had one is not told of", () => {
  for (const sealing of [sealed, refused, sealed, sealed, { kind: "unchanged" } as const])
    events.tell("acme", sealing, "");
  expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
    ["error", "the log is not signed"],
    ["info", "the log is signed again"],
  ]);
});

test("every reason not to sign is there before anything was refused, so that the first one shows as a rise", () => {
  expect(counted).toEqual([
    ["caseflow.log.checkpoints", 0, undefined],
    ...["rolled_back", "forked", "damaged", "state_unusable"].map((why) => [
      "caseflow.log.refusals",
      0,
      { why },
    ]),
  ]);
});

test("checkpoints are counted, and each attempt that is refused, by why", () => {
  counted = [];
  for (const sealing of [sealed, { kind: "unchanged" } as const, refused, refused, forked])
    events.tell("acme", sealing, "");
  expect(counted).toEqual([
    ["caseflow.log.checkpoints", 1, undefined],
    ["caseflow.log.refusals", 1, { why: "rolled_back" }],
    ["caseflow.log.refusals", 1, { why: "rolled_back" }],
    ["caseflow.log.refusals", 1, { why: "forked" }],
  ]);
});
