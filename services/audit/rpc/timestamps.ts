import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

/** From 0001-01-01T00:00:00Z and to 9999-12-31T23:59:59Z, in seconds since 1970: what google.protobuf.Timestamp allows. */
const firstSecond = -62_135_596_800n;
const lastSecond = 253_402_300_799n;

/** Whether the message keeps to what google.protobuf.Timestamp allows. */
export function isTimestamp({ seconds, nanos }: Timestamp): boolean {
  return seconds >= firstSecond && seconds <= lastSecond && nanos >= 0 && nanos <= 999_999_999;
}

/** Microseconds since 1970-01-01 UTC, rounded down. */
export function toMicros({ seconds, nanos }: Timestamp): bigint {
  return seconds * 1_000_000n + BigInt(Math.floor(nanos / 1_000));
}

export function toTimestamp(micros: bigint): Timestamp {
  const seconds = micros / 1_000_000n - (micros % 1_000_000n < 0n ? 1n : 0n);
  return create(TimestampSchema, { seconds, nanos: Number(micros - seconds * 1_000_000n) * 1_000 });
}
