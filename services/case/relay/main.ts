import { checkConnectionBudget } from "#libs/service/connection-budget.ts";
import { runService } from "#libs/service/run-service.ts";
import { readRelayConfig } from "../config.ts";
import { openRelay, relayConnections } from "../rpc/open-relay.ts";

/* The relay alone, as a process of its own: beside case services that run with RELAY=off, or in addition to theirs. */
if (import.meta.main) {
  await runService(process.env, {
    name: "caseflow-relay",
    readConfig: readRelayConfig,
    start: async (config, _release, log) => {
      const { replicaCount } = config;
      await using opened = new AsyncDisposableStack();
      const budget = opened.use(
        await checkConnectionBudget({ uses: relayConnections(config), replicaCount, log }),
      );
      opened.use(openRelay(config, log, () => new Date(), budget.recheck));
      const running = opened.move();
      return { facts: {}, [Symbol.asyncDispose]: () => running.disposeAsync() };
    },
  });
}
