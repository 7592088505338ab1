import fc from "fast-check";
import { expect } from "vitest";
import { within, type Point } from "./crash-points.ts";
import type { ArmedStrike, CrashProxy, Message } from "./crash-proxy.ts";
import type { OtlpReceiver } from "./otlp-receiver.ts";
import { readRunSettings } from "./run-settings.ts";
import type { SpawnedService } from "./service-process.ts";
import { waitUntil } from "./wait-until.ts";

/** Above every limit of a service that stops; with `shortDrain`. */
export const stopMs = 30_000;
/** What calls under way have in these tests, where they cannot end. */
export const shortDrain = { CASEFLOW_DRAIN_MS: "500" };

/** Spans leave with the last flush alone, and not before. */
export const lateSpans = { OTEL_BSP_SCHEDULE_DELAY: "600000" };

/** All points up to the `messages`-th in a campaign, `few` of them in an ordinary run; the seed says which. */
export function stopPoints(messages: number, few: number, isCampaign: boolean): readonly Point[] {
  const all = Array.from({ length: messages }, (_, index) => index + 1).flatMap((n) => [
    { n, when: "before" as const },
    { n, when: "after" as const },
  ]);
  if (isCampaign) return all;
  const { seed } = readRunSettings(1);
  const chosen = fc.sample(fc.shuffledSubarray(all, { minLength: few, maxLength: few }), {
    seed,
    numRuns: 1,
  });
  return chosen[0] ?? all;
}

interface SignalOptions {
  readonly counts?: (message: Message) => boolean;
  /** How long the database's messages are on their way: until the service was sent the signal, knows of it, takes no more calls, or is gone. */
  readonly until?: "signalled" | "stopping" | "draining" | "ended";
}

/** Makes a message between a service and its database the moment of SIGTERM. */
export function signalAt(
  proxy: CrashProxy,
  point: Point,
  service: SpawnedService,
  { counts = () => true, until = "stopping" }: SignalOptions = {},
): ArmedStrike {
  return proxy.arm({
    ...point,
    counts,
    async act() {
      service.signal("SIGTERM");
      if (until === "signalled") return;
      await (until === "ended" ? service.ended : Promise.race([service.said("stopping"), service.ended]));
      if (until === "draining") await untilPortCloses(service);
    },
  });
}

async function untilPortCloses(service: SpawnedService): Promise<void> {
  const { url } = await service.said("listening");
  const isOpen = () =>
    fetch(String(url), { headers: { connection: "close" } }).then(
      () => true,
      () => false,
    );
  await waitUntil(async () => !(await isOpen()));
}

/** How many messages an operation has that is not struck. */
export async function countMessages(
  proxy: CrashProxy,
  counts: (message: Message) => boolean,
  operate: () => Promise<unknown>,
): Promise<number> {
  const never = proxy.arm({ n: Infinity, when: "before", counts, act: () => {} });
  await operate();
  never.disarm();
  return never.seen;
}

/** It ended in time, with 0, and has said so last of all. */
export async function expectCleanEnd(service: SpawnedService, when: string): Promise<void> {
  const how = await within(stopMs, `the end after SIGTERM ${when}`, service.ended);
  expect(how, `${when}:\n${service.lines.join("\n")}`).toBe(0);
  const said = service.lines.map((line) => (line.startsWith("{") ? JSON.parse(line).msg : line));
  expect(said.at(-1), when).toBe("stopped");
}

/** Of every call that was answered there are a server span and a log line. */
export function expectTold(
  service: SpawnedService,
  receiver: OtlpReceiver,
  traceIds: readonly string[],
  when: string,
): void {
  const logged = service.lines
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))
    .filter(({ msg }) => msg === "call")
    .map((entry) => entry["trace_id"]);
  const spans = receiver.spans().filter(({ kind }) => kind === "server");
  for (const traceId of traceIds) {
    expect(logged, `log lines, ${when}`).toContain(traceId);
    expect(
      spans.map((span) => span.traceId),
      `spans, ${when}`,
    ).toContain(traceId);
  }
}
