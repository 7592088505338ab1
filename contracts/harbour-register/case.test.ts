import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { expect, test } from "vitest";
import { readContracts } from "#libs/contracts/read-contracts.ts";

/* The harbour's register is written in another language. Its contract is plain JSON, which its own build makes; all that is left here is to see that the view in it is the schema beside it. */
test("the view in the register's contract is what view.proto says", async () => {
  const flags = ["--as-file-descriptor-set", "--exclude-source-info", "-o", "-#format=json"];
  const { stdout } = await promisify(execFile)("buf", ["build", "view.proto", ...flags], {
    cwd: import.meta.dirname,
  });
  const contracts = await readContracts(`${import.meta.dirname}/..`);
  const own = contracts.find(({ consumer }) => consumer === "harbour-register");
  expect(own?.view).toEqual(JSON.parse(stdout));
});
