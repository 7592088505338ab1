import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { commandSequences, type Command } from "../support/case-model-commands.ts";
import { readRemains, remainsOf } from "../support/case-model-record.ts";
import { follow } from "../support/case-model-run.ts";
import { startModelServices, type ModelServices } from "../support/case-model-services.ts";
import { readRunSettings } from "../support/run-settings.ts";
import { createTranscript, type Transcript } from "../support/case-model-transcript.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

/*
 * A failure names the seed, the shortest sequence found that fails, and what was sent and told in it. CASEFLOW_SEED=<seed>
 * repeats the run, CASEFLOW_RUNS=1000 looks harder.
 */
const { seed, runs } = readRunSettings(12);
const commandsMax = 25;
const runMs = 3_000;
/** How long to look for a shorter sequence. */
const shrinkMs = 60_000;

expectNoLeaks();

let services: ModelServices;
beforeAll(async () => {
  services = await startModelServices();
});
afterAll(() => services[Symbol.asyncDispose]());

test(
  "random commands, duplicates, rivals, delays and cuts are answered, and leave behind, what the model says",
  { timeout: runs * runMs + 2 * shrinkMs },
  async () => {
    const property = fc.asyncProperty(commandSequences(commandsMax), async (commands) => {
      const transcript = createTranscript();
      try {
        await check(commands, transcript);
      } catch (error) {
        if (error instanceof Error) error.message += `\n${transcript.text()}`;
        throw error;
      }
    });
    const interruptAfterTimeLimit = runs * runMs + shrinkMs;
    await fc.assert(property, { seed, numRuns: runs, unbiased: true, interruptAfterTimeLimit });
  },
);

async function check(commands: readonly Command[], transcript: Transcript): Promise<void> {
  const name = `model-${randomBytes(4).toString("hex")}`;
  const tenants = [`${name}-a`, `${name}-b`] as const;
  const subject = services.subject();
  for (const tenant of tenants) await services.setPolicy(tenant);
  const beliefs = await follow(tenants, commands, subject, transcript);
  const actual = await readRemains(services, tenants, subject.caseIds);
  const possible = beliefs.map(({ world }) => remainsOf(world, tenants.length));
  if (possible.some((remains) => isDeepStrictEqual(actual, remains))) return;
  expect(actual, "what is left behind").toEqual(possible[0]);
}
