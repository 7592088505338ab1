import { setTimeout as pause } from "node:timers/promises";

const readyTimeoutMs = 20_000;
const lookEveryMs = 20;

/** Resolves once a service tells on its second port that it is ready. */
export async function waitUntilReady(metricsUrl: string): Promise<void> {
  const signal = AbortSignal.timeout(readyTimeoutMs);
  for (;;) {
    const { ok } = await fetch(`${metricsUrl}/readyz`, { signal });
    if (ok) return;
    await pause(lookEveryMs, undefined, { signal });
  }
}
