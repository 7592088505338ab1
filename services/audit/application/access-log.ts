/*
 * Every reading of audit data leaves a trace before anything of it leaves the service.
 *
 *   one answer   the data is read, then the row is written and committed, then the answer is given; without the row there is none
 *   a stream     a row when it begins, before its first message; another when it ends, with what was given
 *
 * A process that is killed leaves the first row of its streams: who read what from when on is known, how much is not. So is it
 * when the second row cannot be written, which is told in the service's own log. A row without an answer (the caller left, the
 * process died in between) says too much rather than too little.
 */
import type { Pool } from "pg";
import { v7 } from "uuid";
import { Fault } from "#libs/fault/fault.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import type { Log } from "#libs/telemetry/log.ts";
import type { Access, AccessMethod, AuditPrincipal } from "../domain/access.ts";
import { insertAccess } from "../store/access-log.ts";
import type { Reader } from "./read-rows.ts";

/** Somebody who reads audit data. */
export interface Auditor extends Reader {
  readonly principal: AuditPrincipal;
}

/** What somebody asks to read. */
export interface Query {
  readonly method: AccessMethod;
  /** As canonical JSON. */
  readonly filter: string;
}

/** What was given of it. */
export interface Given {
  readonly outcome: string;
  readonly givenCount: number;
  readonly firstLeafIndex?: bigint | undefined;
  readonly lastLeafIndex?: bigint | undefined;
  readonly begunBy?: string;
}

export interface AccessLog {
  /** Writes a row; gives its id once it is committed. Faults: what `reportDatabaseFaults` makes of outages. */
  write(auditor: Auditor, query: Query, given: Given): Promise<string>;
  /** The stream, with its beginning and its end in the log. It tells the leaf index of each event before it gives it. */
  around<T>(
    auditor: Auditor,
    query: Query,
    stream: (tell: (leafIndex: bigint) => void) => AsyncIterable<T>,
  ): AsyncIterable<T>;
}

/** What the row of a stream's end may take, whatever is left of the caller's time, and also when they have gone. */
const endMs = 5_000;

const { signal: endless } = new AbortController();

export function createAccessLog(pool: Pool, now: () => Date, log: Log): AccessLog {
  const makeId = createAccessIds();
  const write: AccessLog["write"] = async ({ tenantId, principal, remainingMs, signal }, query, given) => {
    const at = now();
    const access: Access = {
      accessId: makeId(at),
      at,
      principal,
      firstLeafIndex: undefined,
      lastLeafIndex: undefined,
      begunBy: undefined,
      ...query,
      ...given,
    };
    const options = { tenantId, timeoutMs: remainingMs(), signal };
    await reportDatabaseFaults(() => runForTenant(pool, options, [insertAccess(tenantId, access)]));
    return access.accessId;
  };
  return {
    write,
    async *around(auditor, query, stream) {
      const begunBy = await write(auditor, query, { outcome: "BEGUN", givenCount: 0 });
      let givenCount = 0;
      let firstLeafIndex: bigint | undefined;
      let lastLeafIndex: bigint | undefined;
      let outcome = "CANCELED"; // Who leaves between two messages just stops asking.
      try {
        yield* stream((leafIndex) => {
          givenCount += 1;
          firstLeafIndex ??= leafIndex;
          lastLeafIndex = leafIndex;
        });
        outcome = "OK";
      } catch (error) {
        if (error instanceof Fault) outcome = error.reason;
        else if (!auditor.signal.aborted) outcome = "INTERNAL";
        throw error;
      } finally {
        const end = { outcome, givenCount, firstLeafIndex, lastLeafIndex, begunBy };
        await write({ ...auditor, remainingMs: () => endMs, signal: endless }, query, end).catch(
          (error: unknown) => {
            log.error(
              { err: error, begun_by: begunBy, given_count: givenCount },
              "the end of a read is not in the access log",
            );
          },
        );
      }
    },
  };
}

/** Makes UUIDv7s of given times; of one millisecond, in the order in which they are asked for. */
function createAccessIds(): (at: Date) => string {
  let [msecs, seq] = [0, 0];
  return (at) => {
    [msecs, seq] = at.getTime() === msecs ? [msecs, seq + 1] : [at.getTime(), 0];
    return v7({ msecs, seq });
  };
}
