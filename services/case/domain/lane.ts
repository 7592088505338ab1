/** How many lanes the outbox is worked in; fixed, since rows carry their lane. */
export const laneCount = 64;

/** The lane of a tenant: the first byte of SHA-256 of its id, modulo 64. The database checks the same. */
export function laneOf(tenantDigest: Uint8Array): number {
  const first = tenantDigest[0];
  if (first === undefined) throw new RangeError("an empty digest has no lane");
  return first % laneCount;
}
