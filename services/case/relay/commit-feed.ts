import type { Client } from "pg";
import { createBell } from "#libs/bell/bell.ts";
import { openSession } from "#libs/pg/session.ts";
import { endsWithin } from "#libs/resilience/ends-within.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { outboxChannel } from "./lane-locks.ts";

const connectTimeoutMs = 5_000;
/** A session that does not answer LISTEN by then is given up. */
const answerTimeoutMs = 5_000;
const retryMs = 1_000;
/** How long closing waits for a database that does not answer. */
const closeMs = 2_000;
/** Looks after itself now and then, should a wake-up be lost; in milliseconds. */
const idleMs = 60_000;

/** Tells listeners in this process of commits, of this process and of others. */
export interface CommitFeed extends AsyncDisposable {
  /** Something was committed here. */
  tell(): void;
  /** Calls `ring` after commits until disposed. */
  listen(ring: () => void): Disposable;
}

/**
 * Hears of other processes' commits by LISTEN, on a connection that is open for as long as somebody listens. While it is lost,
 * or where it leads to a pooler that cannot do LISTEN, only this process's commits are told: whoever listens polls as well.
 */
export function openCommitFeed(databaseUrl: string, log: Log): CommitFeed {
  const stopping = new AbortController();
  const rings = new Set<() => void>();
  const changed = createBell();
  const tell = (): void => {
    for (const ring of rings) ring();
  };
  const ended = run({
    databaseUrl,
    log,
    changed,
    stopping: stopping.signal,
    wanted: () => rings.size > 0,
    tell,
  });
  return {
    tell,
    listen(ring) {
      rings.add(ring);
      changed.ring();
      return {
        [Symbol.dispose]() {
          rings.delete(ring);
          changed.ring();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await endsWithin(closeMs, ended);
    },
  };
}

interface Feed {
  readonly databaseUrl: string;
  readonly log: Log;
  readonly changed: ReturnType<typeof createBell>;
  readonly stopping: AbortSignal;
  readonly wanted: () => boolean;
  readonly tell: () => void;
}

async function run({ databaseUrl, log, changed, stopping, wanted, tell }: Feed): Promise<void> {
  let session: (Client & AsyncDisposable) | undefined;
  let isLost = false;
  while (!stopping.aborted) {
    if (session && (isLost || !wanted())) {
      await session[Symbol.asyncDispose]();
      session = undefined;
    }
    if (!session && wanted()) {
      try {
        isLost = false;
        session = await openSession({
          url: databaseUrl,
          applicationName: "caseflow-case-commits",
          connectTimeoutMs,
          answerTimeoutMs,
          onError: (error) => {
            log.warn({ err: error }, "lost the connection that tells of others' commits");
            isLost = true;
            changed.ringIn(retryMs);
          },
        });
        session.on("notification", tell);
        await session.query(`LISTEN ${outboxChannel}`);
      } catch (error) {
        log.warn({ err: error, retryMs }, "cannot hear of others' commits");
        isLost = true;
        changed.ringIn(retryMs);
      }
    }
    await changed.wait(idleMs, stopping);
  }
  await session?.[Symbol.asyncDispose]();
  changed[Symbol.dispose]();
}
