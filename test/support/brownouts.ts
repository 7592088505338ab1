import { DatabaseError } from "pg";
import { openSession } from "#libs/pg/session.ts";
import type { MortalPostgres } from "./crash-postgres.ts";
import type { PostgresProxy } from "./postgres-proxy.ts";
import { openSuperuser } from "./superuser.ts";

/** Where a brown-out takes place: a PostgreSQL with two databases, and the ways that services have to them. */
export interface BrownoutScene {
  readonly postgres: MortalPostgres;
  readonly proxies: readonly PostgresProxy[];
}

/** The ways in which a database does not answer, or not in time; each lasts until it is disposed. */
export const brownouts: Readonly<Record<string, (scene: BrownoutScene) => Promise<AsyncDisposable>>> = {
  "is frozen": ({ postgres }) => postgres.freeze(),
  "answers three seconds late": async ({ proxies }) => {
    for (const proxy of proxies) proxy.delayMs = 3_000;
    return {
      async [Symbol.asyncDispose]() {
        for (const proxy of proxies) proxy.reset();
      },
    };
  },
  "has no connection left": ({ postgres }) => takeConnections(postgres),
  "is stopped at once": ({ postgres }) => postgres.stop("SIGINT"),
  "is stopped without a goodbye": ({ postgres }) => postgres.stop("SIGQUIT"),
  "is killed": ({ postgres }) => postgres.stop("SIGKILL"),
};

/** Takes every connection that is not a superuser's, the services' own too. */
async function takeConnections({ cases }: MortalPostgres): Promise<AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const superuser = opened.use(await openSuperuser(cases.superuserUrl));
  const take = async (): Promise<boolean> => {
    try {
      const hog = { url: cases.relayUrl, applicationName: "hog", connectTimeoutMs: 5_000 };
      opened.use(await openSession({ ...hog, onError: () => {} }));
      return true;
    } catch (error) {
      if (error instanceof DatabaseError && error.code === "53300") return false;
      throw error;
    }
  };
  for (let others: number | null = 1; others !== 0;) {
    while (await take());
    // Nobody else can come now: who is found has come before, and whose place comes free is taken next.
    ({ rowCount: others } = await superuser.query(
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND (usename IS NULL OR usename IN ('case_app', 'audit_app'))`,
    ));
  }
  const held = opened.move();
  return { [Symbol.asyncDispose]: () => held.disposeAsync() };
}
