/** The Unix milliseconds in an event's id, a UUIDv7: its first 48 bits. */
export function millisecondsOf(eventId: string): number {
  return Number.parseInt(eventId.replaceAll("-", "").slice(0, 12), 16);
}
