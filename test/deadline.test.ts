import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { onwardCall } from "#libs/rpc/onward-call.ts";
import { connectForTest, serveForTest } from "#libs/rpc/serve-for-test.ts";

import { content, startCaseService } from "./support/case-service.ts";
import { openSuperuser } from "./support/superuser.ts";

/** Only this one sleeps, for longer than any test. */
const sleepyInsert = `
  CREATE FUNCTION sleep_a_minute() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
  CREATE TRIGGER sleep_a_minute BEFORE INSERT ON cases FOR EACH ROW EXECUTE FUNCTION sleep_a_minute()`;

const statements = `
  SELECT pid FROM pg_stat_activity
   WHERE datname = current_database() AND application_name = 'caseflow-case' AND wait_event = 'PgSleep'`;

test.each(["straight", "by way of another service"])(
  "a caller's deadline, %s, ends a statement that sleeps in the case service's database",
  async (way) => {
    await using cases = await startCaseService({ config: { relay: "off" } });
    await using database = await openSuperuser(cases.database.superuserUrl);
    await database.query(sleepyInsert);
    const client = await cases.as("caseworker");
    const create = (options: Parameters<typeof client.createCase>[1]) =>
      client.createCase({ caseType: "permit", content }, options);
    await using hop = await serveForTest({
      routes: (router) =>
        router.service(Health, {
          check: async (_, context) => (await create(onwardCall(context)), {}),
        }),
    });
    using caller = connectForTest(hop.url);
    const sleeping = async () => (await database.query(statements)).rowCount;

    const timeoutMs = 2_000;
    const call = way === "straight" ? create({ timeoutMs }) : caller.health.check({}, { timeoutMs });
    const outcome = call.catch((error: unknown) => error);
    await expect.poll(sleeping, { timeout: timeoutMs, interval: 10 }).toBe(1);
    expect(await outcome).toHaveProperty("code", Code.DeadlineExceeded);

    // The service's own ceiling is 10 s, and the sleep is 60 s: only the caller's deadline comes that early.
    await expect.poll(sleeping, { timeout: 2_000, interval: 10 }).toBe(0);
    expect((await database.query("SELECT FROM cases")).rowCount).toBe(0);
  },
);
