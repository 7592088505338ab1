import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

import { parseMapping } from "./mapping.ts";

const good = await readFile(new URL("permits.yaml", import.meta.url), "utf8");

test("the mapping that is shipped is understood", () => {
  const mapping = parseMapping("permits.yaml", good);
  expect(mapping.actions.get("Confirmation of receipt")).toEqual({ do: "create" });
});

test.each([
  [/^source: .*$/m, "source: Permit Receipts", /m\.yaml:11:9: source must match pattern/],
  [/: create$/m, ": open", /m\.yaml:29:28: .* must be one of create, update, submit, .*, ignore/],
  [/: create$/m, ": reject", /m\.yaml:29:28: .* must be one of create/],
  [/do: approve/, "do: reject", undefined],
  [/nextActorOf: start_review/, "nextActor: start_review", /m\.yaml:\d+:\d+: .*reviewer has no nextActor/],
  [/^caseType: .*$/m, "", /the mapping needs caseType/],
  [
    /zone: Europe\/Amsterdam/,
    "zone: Europe/Atlantis",
    /m\.yaml:\d+:9: there is no time zone Europe\/Atlantis/,
  ],
  [
    /format: iso/,
    "format: DD-MM",
    /m\.yaml:\d+:11: must be iso, unix_seconds, unix_milliseconds, or a pattern/,
  ],
  [/^time:$/m, "time: [", /m\.yaml:\d+:\d+: /],
  [/^source:/m, "sauce: x\nsource:", /m\.yaml:11:8: the mapping has no sauce/],
])(
  "of a mapping with %s made %s the fault is told, where it is and what is allowed",
  (part, instead, told) => {
    const text = good.replace(part, instead);
    expect(text).not.toBe(good);
    if (told) expect(() => parseMapping("m.yaml", text)).toThrow(told);
    else expect(parseMapping("m.yaml", text)).toBeDefined();
  },
);
