/**
 * A token bucket, kept as the one instant at which it is full again: GCRA, the "virtual scheduling" form of ITU-T I.371, annex A.
 * A bucket whose instant has passed is full, and need not be kept at all.
 *
 * Times are whole microseconds: sums of them are exact, also in PostgreSQL, and a burst is exactly as many calls as it says.
 */
export interface BucketRule {
  /** Tokens that come in each second, at most a million. */
  readonly perSecond: number;
  /** The most that it holds, and what it holds at first. At least 1. */
  readonly burst: number;
}

export interface BucketTimes {
  /** In which one token comes in. */
  readonly tokenUs: number;
  /** In which an empty bucket fills up. */
  readonly fillUs: number;
}

export function bucketTimes({ perSecond, burst }: BucketRule): BucketTimes {
  const tokenUs = Math.max(1, Math.round(1_000_000 / perSecond));
  return { tokenUs, fillUs: tokenUs * burst };
}

/** How long it is until the bucket has a token, when it is full again in `fullInUs`; 0 or less: it has one now. */
export function untilTokenUs({ tokenUs, fillUs }: BucketTimes, fullInUs: number): number {
  return Math.max(0, fullInUs) + tokenUs - fillUs;
}
