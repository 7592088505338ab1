import { runService } from "#libs/service/run-service.ts";
import { readRelayConfig } from "../config.ts";
import { openRelay } from "../rpc/open-relay.ts";

/* The relay alone, as a process of its own: beside case services that run with RELAY=off, or in addition to theirs. */
if (import.meta.main) {
  await runService(process.env, {
    name: "caseflow-relay",
    readConfig: readRelayConfig,
    start: async (config, _release, log) => ({ ...openRelay(config, log, () => new Date()), facts: {} }),
  });
}
