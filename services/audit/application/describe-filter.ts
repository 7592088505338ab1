import type { EventFilter } from "../domain/event.ts";
import { toSqlTime } from "../store/events.ts";

/** JSON without spaces, its keys in the order of their code units: the same conditions give the same text. `undefined` is left out. */
export function toCanonicalJson(conditions: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(conditions).filter(([, value]) => value !== undefined);
  return JSON.stringify(Object.fromEntries(given.toSorted(([one], [other]) => (one < other ? -1 : 1))));
}

/**
 * A filter as canonical JSON; keys and times are those of proto3 JSON, times with six digits of a second. The leaf from which on events
 * are meant is one more condition, unless it is the first.
 */
export function describeFilter(filter: EventFilter, fromLeafIndex = 0n): string {
  return toCanonicalJson({
    fromLeafIndex: fromLeafIndex === 0n ? undefined : String(fromLeafIndex),
    source: filter.source,
    type: filter.type,
    subject: filter.subject,
    actorId: filter.actorId,
    onBehalfOf: filter.onBehalfOf,
    requestId: filter.requestId,
    correlationId: filter.correlationId,
    occurredFrom: toTime(filter.occurredFromMicros),
    occurredBefore: toTime(filter.occurredBeforeMicros),
    recordedFrom: toTime(filter.recordedFromMicros),
    recordedBefore: toTime(filter.recordedBeforeMicros),
    receivedFrom: toTime(filter.receivedFromMicros),
    receivedBefore: toTime(filter.receivedBeforeMicros),
  });
}

function toTime(micros: bigint | undefined): string | undefined {
  return micros === undefined ? undefined : toSqlTime(micros);
}
