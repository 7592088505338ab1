import { expect, test } from "vitest";
import { majorVersionOf } from "../support/attack-postgres-15.ts";
import { cloneCaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/** The version of the embedded server, which is used unless another one is named. */
const embedded = "18";

test("the tests run on the PostgreSQL that TEST_POSTGRES_BIN names", async () => {
  const folder = process.env["TEST_POSTGRES_BIN"];
  await using database = await cloneCaseDatabase();
  await using superuser = await openSuperuser(database.superuserUrl);
  const { rows } = await superuser.query<{ server_version: string }>("SHOW server_version");
  const wanted = folder === undefined ? embedded : await majorVersionOf(folder);
  expect(rows[0]?.server_version.split(".")[0]).toBe(wanted);
});
