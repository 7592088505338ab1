import { v7 } from "uuid";

/**
 * A new event's id: UUIDv7 (RFC 9562) of the present millisecond, but always later than the case's event before it. So a
 * case's ids sort as its versions do, whatever the clocks of the replicas say.
 */
export function nextEventId(at: Date, previousEventId: string | undefined): string {
  const afterPrevious = previousEventId === undefined ? 0 : millisecondsOf(previousEventId) + 1;
  return v7({ msecs: Math.max(at.getTime(), afterPrevious) });
}

/** The Unix milliseconds in a UUIDv7: its first 48 bits. */
export function millisecondsOf(uuidV7: string): number {
  return Number.parseInt(uuidV7.replaceAll("-", "").slice(0, 12), 16);
}
