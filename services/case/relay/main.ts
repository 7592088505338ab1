import { ConfigError } from "#libs/config/read-settings.ts";
import { readRelease } from "#libs/service/release.ts";
import { runUntilSignal } from "#libs/service/run-until-signal.ts";
import { createLog } from "#libs/telemetry/log.ts";
import { readRelayConfig } from "../config.ts";
import { openRelay } from "../rpc/open-relay.ts";

/* The relay alone, as a process of its own: beside case services that run with RELAY=off, or in addition to theirs. */
if (import.meta.main) {
  const { version } = await readRelease(process.env);
  try {
    const config = readRelayConfig(process.env);
    const log = createLog({ service: "caseflow-relay", version, level: config.logLevel });
    await runUntilSignal(log, async () => {
      const relay = openRelay(config, log, () => new Date());
      log.info("relay started");
      return relay;
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`The relay cannot start:\n${error.message}\n`);
    process.exitCode = 1;
  }
}
