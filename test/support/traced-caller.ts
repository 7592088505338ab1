import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { promisify } from "node:util";
import { processEnv } from "./process-env.ts";
import type { ProcessPair } from "./process-pair.ts";

const run = promisify(execFile);

/** A consumer: calls from inside a span of its own, with the typed client. */
const caller = `
  import { createCaseClient } from "#libs/client/case-client.ts";
  import { shutdownTelemetry } from "#libs/telemetry/sdk.ts";
  import { currentTraceparent, withSpan } from "#libs/telemetry/trace-context.ts";
  const { URL: url, TOKEN: token, REQUEST_ID: requestId } = process.env;
  const client = createCaseClient({ url, token });
  const traceparent = await withSpan("open a case", {}, async () => {
    await client.createCase({ requestId, caseType: "permit", content: { title: "t" } });
    return currentTraceparent();
  });
  await client[Symbol.asyncDispose]();
  await shutdownTelemetry(2_000);
  console.log(traceparent.split("-")[1]);
  process.exit();
`;

/** Opens a case of tenant `acme` from a process `caller`, inside a span `open a case`; returns the trace's id. `env`: where spans go. */
export async function openCaseInSpan(
  pair: ProcessPair,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const token = await pair.issuer.token({ tenant: "acme", sub: "caseworker", roles: ["caseworker"] });
  const { stdout } = await run(
    process.execPath,
    ["--import", "./libs/telemetry/register.ts", "--input-type=module", "--eval", caller],
    {
      env: {
        ...processEnv,
        ...env,
        OTEL_SERVICE_NAME: "caller",
        URL: pair.cases.url,
        TOKEN: token,
        REQUEST_ID: randomUUID(),
      },
    },
  );
  return stdout.trim();
}
