/** The most that a timer of Node can hold; it takes more for one millisecond. */
const timerMaxMs = 2_147_483_647;

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000 };

/**
 * Whether a header sets a deadline that is too far away for any timer: some clients write "none" that way. Smaller units
 * of gRPC cannot, since it has eight digits. What is no timeout at all is left to whoever reads it.
 */
export function isEndlessTimeout(name: string, value: string): boolean {
  switch (name) {
    case "grpc-timeout": {
      const [, count = "", unit = ""] = /^(\d{1,8})([HMS])$/.exec(value) ?? [];
      return Number(count) * (unitMs[unit] ?? 0) > timerMaxMs;
    }
    case "connect-timeout-ms":
      return /^\d{1,10}$/.test(value) && Number(value) > timerMaxMs;
    default:
      return false;
  }
}
