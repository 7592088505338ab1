import { expect, test } from "vitest";

import { createTimeReader } from "./read-time.ts";

test.each([
  ["iso", "UTC", "2011-10-11 13:45:40.276999+02:00", "2011-10-11T11:45:40.276Z"],
  ["iso", "UTC", "2011-10-11", "2011-10-11T00:00:00.000Z"],
  ["iso", "Europe/Amsterdam", "2011-07-01T12:00", "2011-07-01T10:00:00.000Z"],
  ["iso", "Europe/Amsterdam", "2011-01-01T12:00Z", "2011-01-01T12:00:00.000Z"],
  ["iso", "Europe/Amsterdam", "2011-10-30T02:30", "2011-10-30T00:30:00.000Z"],
  ["iso", "Europe/Amsterdam", "2011-10-30T03:30", "2011-10-30T02:30:00.000Z"],
  ["iso", "America/New_York", "2011-03-13T03:30", "2011-03-13T07:30:00.000Z"],
  ["unix_seconds", "UTC", "1300000000.5", "2011-03-13T07:06:40.500Z"],
  ["unix_milliseconds", "UTC", "1300000000000", "2011-03-13T07:06:40.000Z"],
  ["DD-MM-YYYY HH:mm", "Europe/Amsterdam", "01-07-2011 12:00", "2011-07-01T10:00:00.000Z"],
  ["DD.MM.YYYY", "UTC", "01x07x2011", undefined],
  ["iso", "UTC", "2011-02-30", undefined],
  ["iso", "UTC", "2011-02-20 24:00", undefined],
  ["iso", "UTC", "soon", undefined],
  ["unix_seconds", "UTC", "-1", undefined],
])("as %s in %s, %s is %s", (format, zone, text, instant) => {
  const ms = createTimeReader(format, zone)(text);
  expect(ms === undefined ? undefined : new Date(ms).toISOString()).toBe(instant);
});
