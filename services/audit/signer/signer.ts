import type { Pool } from "pg";
import { createBell, type Bell } from "#libs/bell/bell.ts";
import { lockFolder } from "#libs/files/lock-folder.ts";
import { createNoteSigner, signNote } from "#libs/merkle/signed-note.ts";
import { openPool } from "#libs/pg/pool.ts";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import { endsWithin } from "#libs/resilience/ends-within.ts";
import type { ConnectionUse } from "#libs/service/connection-budget.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { listSignedLogs, type SignedLogRow } from "../store/checkpoints.ts";
import { type LogGauges, type LookedAt, watchLogs } from "./log-gauges.ts";
import { openLastCheckpoints } from "./last-checkpoints.ts";
import { readSigningKeys } from "./read-signing-keys.ts";
import { createSealEvents, type SealEvents } from "./seal-events.ts";
import { sealLog, type SealDependencies } from "./seal-log.ts";

/*
 * The signer: gives logs their checkpoints, for as long as it runs.
 *
 *   wake      after an append in this process; what other processes append is found by the poll
 *   poll      compares every log with its newest checkpoint, and with the last one in the folder: a log that was put back, or
 *             is gone, shows although nothing was appended
 *   seal      a few logs at a time (seal-log.ts), each at most once a second
 *
 * One signer works in a folder, held by a lock that dies with it; the file is read each time, so that one that cannot be seen (in
 * another container) does no harm that the next look would not show.
 */

export interface SignerOptions {
  /** As the signer's role. */
  readonly signerDatabaseUrl: string;
  /** Folder of private keys. */
  readonly signingKeys: string;
  /** Folder of last checkpoints; it has to be there. */
  readonly signerHome: string;
  readonly logOrigin: string;
  /** Takes into the tree what it lacks of its log. */
  readonly catchUp: (tenantId: string) => Promise<void>;
  readonly now: () => Date;
  readonly log: Log;
}

export interface Signer extends AsyncDisposable {
  /** Tells that events were appended to a tenant's log. Cheap. */
  wake(tenantId: string): void;
  /** A note over a text with every key of the tenant's log. The text must not be one that could pass for a checkpoint. */
  signNote(tenantId: string, text: string): string;
}

/** How long events of other processes wait at most before they are noticed. */
const pollMs = 5_000;
/** Between two checkpoints of a log. */
const quietMs = 1_000;
const logsAtOnce = 4;
const pageSize = 1_000;
const connectTimeoutMs = 5_000;
const statementTimeoutMs = 10_000;
/** How long disposing waits for the checkpoints under way, and once more when their connections are cut. */
const stopMs = 2_000;
/** The signer itself has waited for its transactions. */
const drainMs = 1_000;

/** What the signer connects to its database with. */
export function signerConnections(url: string): ConnectionUse[] {
  return [{ what: "the signer's pool", url, count: logsAtOnce }];
}

/**
 * Starts the signer. Disposing it lets the checkpoints under way end, for two seconds. Throws `FolderLocked` while another process signs from the
 * folder, and what is wrong with the keys.
 */
export async function openSigner(options: SignerOptions): Promise<Signer> {
  const { signerHome, signingKeys, logOrigin, log } = options;
  await using opened = new AsyncDisposableStack();
  const keys = await readSigningKeys(signingKeys);
  opened.use(await lockFolder(signerHome));
  const last = await openLastCheckpoints(signerHome, logOrigin);
  let ended: Promise<unknown> = Promise.resolve();
  // With their connections gone they are soon over, and until then nobody else may write to the folder.
  opened.defer(async () => void (await endsWithin(stopMs, ended)));
  const pool = opened.use(
    openPool({
      url: options.signerDatabaseUrl,
      max: logsAtOnce,
      applicationName: "caseflow-signer",
      connectTimeoutMs,
      drainMs,
      onError: (error) => log.warn({ err: error }, "an idle database connection of the signer died"),
    }),
  );
  const bell = opened.use(createBell());
  const stopping = new AbortController();
  const state: State = {
    dependencies: { pool, keys, origin: logOrigin, last, catchUp: options.catchUp, now: options.now },
    events: createSealEvents(log),
    gauges: opened.use(watchLogs()),
    log,
    bell,
    woken: new Set(),
    restsUntil: new Map(),
  };
  ended = run(state, stopping.signal);
  opened.defer(async () => {
    stopping.abort();
    await endsWithin(stopMs, ended);
  });
  const running = opened.move();
  return {
    wake(tenantId) {
      state.woken.add(tenantId);
      bell.ring();
    },
    signNote: (tenantId, text) =>
      signNote(
        text,
        keys.map((key) => createNoteSigner(`${logOrigin}/${tenantId}`, key)),
      ),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

interface State {
  readonly dependencies: SealDependencies;
  readonly events: SealEvents;
  readonly gauges: LogGauges;
  readonly log: Log;
  readonly bell: Bell;
  /** Logs that may have more than is signed. */
  readonly woken: Set<string>;
  /** Logs that were sealed a moment ago, and until when they are left alone; by this process's monotonic clock. */
  readonly restsUntil: Map<string, number>;
}

async function run(state: State, stopping: AbortSignal): Promise<void> {
  let pollAt = 0;
  while (!stopping.aborted) {
    if (performance.now() >= pollAt) {
      await poll(state).catch((error: unknown) => state.log.warn({ err: error }, "the signer cannot look"));
      pollAt = performance.now() + pollMs;
    }
    await sealWoken(state, stopping);
    await state.bell.wait(Math.max(0, pollAt - performance.now()), stopping);
  }
}

/** Wakes every log that has something to sign, or has not what was signed. */
async function poll({ dependencies: { pool, last }, gauges, woken }: State): Promise<void> {
  const unseen = new Set(last.sizes.keys());
  const seen: LookedAt[] = [];
  for await (const { tenant_id: tenantId, size, tree_size: treeSize, checkpoint_size: signed } of listLogs(
    pool,
  )) {
    unseen.delete(tenantId);
    seen.push({ tenantId, size: Number(size), signed: Number(signed) });
    const sizes = [size, treeSize, last.sizes.get(tenantId)].map(Number);
    if (sizes.some((own) => own !== Number(signed))) woken.add(tenantId);
  }
  for (const tenantId of unseen) woken.add(tenantId);
  gauges.seen(seen);
}

async function* listLogs(pool: Pool): AsyncIterable<SignedLogRow> {
  for (let after = "", more = true; more;) {
    const options = { timeoutMs: statementTimeoutMs, readOnly: true };
    const [page] = await runTransaction(pool, options, [listSignedLogs(after, pageSize)]);
    const rows: readonly SignedLogRow[] = page?.rows ?? [];
    yield* rows;
    after = rows.at(-1)?.tenant_id ?? after;
    more = rows.length === pageSize;
  }
}

/** Seals the woken logs that do not rest; rings when the next one has rested. */
async function sealWoken(state: State, stopping: AbortSignal): Promise<void> {
  const { bell, woken, restsUntil } = state;
  const now = performance.now();
  for (const [tenantId, until] of restsUntil) if (until <= now) restsUntil.delete(tenantId);
  const ready = [...woken].filter((tenantId) => !restsUntil.has(tenantId)).values();
  const work = async (): Promise<void> => {
    for (const tenantId of ready) if (!stopping.aborted) await sealOne(state, tenantId);
  };
  await Promise.all(Array.from({ length: logsAtOnce }, work));
  const rests = [...woken].map((tenantId) => restsUntil.get(tenantId) ?? 0);
  if (rests.length > 0) bell.ringIn(Math.max(0, Math.min(...rests) - performance.now()));
}

/** Never rejects: what fails is found again by the poll. */
async function sealOne(state: State, tenantId: string): Promise<void> {
  const { dependencies, events, log, woken, restsUntil } = state;
  woken.delete(tenantId);
  restsUntil.set(tenantId, performance.now() + quietMs);
  try {
    events.tell(tenantId, await sealLog(dependencies, tenantId), dependencies.last.pathOf(tenantId));
  } catch (error) {
    log.warn({ err: error, tenant_id: tenantId }, "a log could not be sealed; it is tried again");
  }
}
