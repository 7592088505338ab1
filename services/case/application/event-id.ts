import { v7 } from "uuid";
import { millisecondsOf } from "../domain/event-time.ts";

/**
 * A new event's id: UUIDv7 (RFC 9562) of the present millisecond, but always later than the case's event before it. So a
 * case's ids sort as its versions do, whatever the clocks of the replicas say.
 */
export function nextEventId(at: Date, previousEventId: string | undefined): string {
  const afterPrevious = previousEventId === undefined ? 0 : millisecondsOf(previousEventId) + 1;
  return v7({ msecs: Math.max(at.getTime(), afterPrevious) });
}

/**
 * The id of what takes an event's place: UUIDv7 of the same millisecond. No other event of the subject has it, so that ids still sort as
 * sequences do, and what is queued under it is delivered before what waited behind the event.
 */
export function standInEventId(originalEventId: string): string {
  return v7({ msecs: millisecondsOf(originalEventId) });
}
