import { expect, test } from "vitest";

import { Fault } from "./fault.ts";

test("a fault says its reason where no message was given, and keeps its cause apart from what callers see", () => {
  const cause = new Error("SELECT secret");
  const fault = new Fault("CASE_NOT_FOUND", { case_id: "c-1" }, { cause });
  expect(fault).toBeInstanceOf(Error);
  expect(fault).toMatchObject({
    name: "Fault",
    reason: "CASE_NOT_FOUND",
    message: "CASE_NOT_FOUND",
    metadata: { case_id: "c-1" },
    cause,
  });
});

test("a fault may name fields and a time to wait, and has no cause where none was given", () => {
  const fields = [{ field: "title", description: "empty" }];
  expect(new Fault("A", {}, { fields, retryAfterMs: 5 })).toMatchObject({ fields, retryAfterMs: 5 });
  expect(new Fault("A")).not.toHaveProperty("cause");
});
