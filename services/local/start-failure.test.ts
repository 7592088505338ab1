import { expect, test } from "vitest";
import {
  PostgresServerError,
  type PostgresServerErrorKind,
} from "#libs/postgres-server/postgres-server-error.ts";

import { explainHome, StartFailure } from "./start-failure.ts";

const settingByKind: Record<PostgresServerErrorKind, RegExp> = {
  unwritable: /^CASEFLOW_HOME: /,
  already_running: /^CASEFLOW_HOME: /,
  locale: /^CASEFLOW_HOME: .*--reset/,
  start_failed: /^CASEFLOW_HOME: /,
  unsupported_platform: /^CASE_DATABASE_URL: /,
};

test.each(Object.entries(settingByKind))(
  "a PostgreSQL that fails with %s is told with the setting to change, and with what it said",
  (kind, expected) => {
    // The keys of the record are the kinds.
    const error = new PostgresServerError(kind as PostgresServerErrorKind, "it said so");
    const explained = explainHome(error, "/srv/home");
    expect(explained).toBeInstanceOf(StartFailure);
    expect(explained).toHaveProperty("message", expect.stringMatching(expected));
    expect(explained).toHaveProperty("message", expect.stringContaining("it said so"));
  },
);

test("what is nobody's setting is told as it is", () => {
  const bug = new TypeError("undefined is not a function");
  expect(explainHome(bug, "/srv/home")).toBe(bug);
});
