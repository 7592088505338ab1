const parts = {
  YYYY: "\\d{4}",
  MM: "\\d\\d",
  DD: "\\d\\d",
  HH: "\\d\\d",
  mm: "\\d\\d",
  ss: "\\d\\d",
  SSS: "\\d{3}",
};
const tokens = /YYYY|MM|DD|HH|mm|ss|SSS/g;
const iso =
  /^(?<YYYY>\d{4})-(?<MM>\d\d)-(?<DD>\d\d)(?:[T ](?<HH>\d\d):(?<mm>\d\d)(?::(?<ss>\d\d)(?:[.,](?<fraction>\d{1,9}))?)?)? ?(?<zone>Z|[+-]\d\d(?::?\d\d)?)?$/;

export function isTimeFormat(format: string): boolean {
  return (
    ["iso", "unix_seconds", "unix_milliseconds"].includes(format) ||
    ["YYYY", "MM", "DD"].every((token) => format.includes(token))
  );
}

export function isTimeZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: zone }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

/**
 * Makes the reader of a column's times; it returns milliseconds since 1970, what is finer cut off, or `undefined` for
 * what is no time of the format. `zone` is of times that name none; where clocks are put back, the first of two counts.
 */
export function createTimeReader(format: string, zone: string): (text: string) => number | undefined {
  if (format === "unix_seconds") return (text) => readNumber(text, 1_000);
  if (format === "unix_milliseconds") return (text) => readNumber(text, 1);
  const pattern = format === "iso" ? iso : toPattern(format);
  const offsetOf = createOffsets(zone);
  return (text) => {
    const groups = pattern.exec(text.trim())?.groups;
    return groups && toInstant(groups, offsetOf);
  };
}

function readNumber(text: string, factor: number): number | undefined {
  if (!/^\d{1,16}(\.\d{1,9})?$/.test(text.trim())) return undefined;
  return Math.floor(Number(text) * factor);
}

function toPattern(format: string): RegExp {
  const seen = new Set<string>();
  const source = format.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(tokens, (token) => {
    if (seen.has(token)) return `\\k<${token}>`;
    seen.add(token);
    return `(?<${token}>${parts[token as keyof typeof parts]})`; // The expression matches these alone.
  });
  return new RegExp(`^${source}$`);
}

function toInstant(
  groups: Readonly<Record<string, string | undefined>>,
  offsetOf: (wallMs: number) => number,
): number | undefined {
  const number = (name: string) => Number(groups[name] ?? 0);
  const [year, month, day] = [number("YYYY"), number("MM"), number("DD")];
  const [hour, minute, second] = [number("HH"), number("mm"), number("ss")];
  const millisecond = Number((groups["fraction"] ?? groups["SSS"] ?? "").slice(0, 3).padEnd(3, "0"));
  const wallMs = Date.UTC(year, month - 1, day, hour, minute, second, millisecond);
  const back = new Date(wallMs);
  // Date.UTC lets a 31st of April be the 1st of May.
  const isReal = back.getUTCMonth() === month - 1 && back.getUTCDate() === day && hour < 24 && minute < 60;
  if (!isReal || second > 59 || year < 1970) return undefined;
  const named = groups["zone"];
  return wallMs - (named === undefined ? offsetOf(wallMs) : toOffsetMs(named));
}

function toOffsetMs(zone: string): number {
  if (zone === "Z") return 0;
  const [, sign, hours, minutes] = /^([+-])(\d\d):?(\d\d)?$/.exec(zone) ?? [];
  return (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes ?? 0)) * 60_000;
}

/** By how much the zone's clocks are ahead of UTC when they show `wallMs`. */
function createOffsets(timeZone: string): (wallMs: number) => number {
  if (timeZone === "UTC") return () => 0;
  const clock = new Intl.DateTimeFormat("en", {
    ...{ timeZone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric" },
    ...{ hour: "numeric", minute: "numeric", second: "numeric" },
  });
  const aheadAt = (ms: number): number => {
    const shown = Object.fromEntries(clock.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = shown;
    return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(ms / 1_000) * 1_000;
  };
  return (wallMs) => {
    const before = aheadAt(wallMs - 24 * 3_600_000);
    return aheadAt(wallMs - before) === before ? before : aheadAt(wallMs - aheadAt(wallMs));
  };
}
