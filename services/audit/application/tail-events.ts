/*
 * A tail: every event of a tenant's log that fits a filter, each once, in the order of the log, also across breaks
 * (libs/service/follow.ts).
 *
 * Leaf indexes have no gap and are given in the order of commits, so that what lies before the end of the log never changes:
 * a place is the number of leaves passed. With it goes the digest of the last of them, and the database's identity: of a log that
 * was put back to an earlier time and has grown again, a tail takes nothing for what it has seen of the other.
 */
import type { Pool, QueryResult } from "pg";
import { createBell } from "#libs/bell/bell.ts";
import { Fault } from "#libs/fault/fault.ts";
import { type IdentityRow, readDatabaseIdentity } from "#libs/pg/database-identity.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { follow, type FollowSource } from "#libs/service/follow.ts";
import type { Listener } from "#libs/service/listener.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import { createStreamPlaces, type StreamLimits } from "#libs/service/stream-places.ts";
import type { EventFilter, StoredEvent } from "../domain/event.ts";
import type { Reason } from "../domain/reason.ts";
import { listEvents, type ListedEventRow, type PageWeight } from "../store/list-events.ts";
import { type LeafDigestRow, type LogEndRow, readLeafDigest, readLogEnd } from "../store/log-end.ts";
import type { AccessLog, Auditor } from "./access-log.ts";
import type { AppendFeed } from "./append-feed.ts";
import type { CheckEvent } from "./check-event.ts";
import { describeFilter } from "./describe-filter.ts";
import { makeResumeToken, readResumeToken, type TailPlace } from "./tail-token.ts";

const pageCountMax = 100;
const pageBytesMax = 1024 * 1024;

/** An auditor who takes a stream. */
export type ListeningAuditor = Auditor & Listener;

export interface TailRequest {
  readonly auditor: ListeningAuditor;
  readonly filter: EventFilter;
  /** Empty: from the first event after now. */
  readonly resumeToken: string;
}

export interface TailMessage {
  /** `undefined` in a message that only moves the token on. */
  readonly event: StoredEvent | undefined;
  readonly resumeToken: string;
}

export interface TailEvents {
  /**
   * Follows a tenant's log. Faults PAGE_TOKEN_INVALID, RESUME_TOKEN_EXPIRED, RATE_LIMITED (too many streams), UNAUTHENTICATED once the
   * caller's token is not good any more, OVERLOADED when the service stops, and what `reportDatabaseFaults` makes of outages.
   */
  tail(request: TailRequest): AsyncIterable<TailMessage>;
  /** Ends every stream; later ones are refused. */
  stop(): void;
}

export interface TailLimits extends StreamLimits {
  /** How long a tail waits for what another process has appended. */
  readonly pollMs: number;
  /** So long after its last message a quiet stream gets a new token. */
  readonly tokenEveryMs: number;
}

export interface TailEventsDependencies {
  readonly pool: Pool;
  readonly now: () => Date;
  readonly appends: AppendFeed;
  readonly accessLog: AccessLog;
  readonly checkEvent: CheckEvent;
  readonly weight: Omit<PageWeight, "bytesMax">;
  readonly limits: TailLimits;
}

export function createTailEvents(dependencies: TailEventsDependencies): TailEvents {
  const { now, appends, accessLog, limits } = dependencies;
  const stopping = new AbortController();
  const places = createStreamPlaces(limits);
  return {
    async *tail({ auditor, filter, resumeToken }) {
      const { tenantId } = auditor;
      const described = describeFilter(filter);
      const resumed = resumeToken === "" ? undefined : readResumeToken(tenantId, described, resumeToken);
      if (resumeToken !== "" && !resumed) throw new Fault<Reason>("PAGE_TOKEN_INVALID");
      using _place = places.take(tenantId);
      using bell = createBell();
      using _appends = appends.listen(tenantId, bell.ring);
      const options = {
        ...{ listener: auditor, bell, now, stopping: stopping.signal },
        ...{ pollMs: limits.pollMs, placeEveryMs: limits.tokenEveryMs },
      };
      const query = { method: "TailEvents", filter: described } as const;
      yield* accessLog.around(auditor, query, async function* (tell): AsyncIterable<TailMessage> {
        const steps = follow(options, eventsOf(dependencies, auditor, filter, resumed));
        for await (const { item: event, place } of steps) {
          if (event) tell(event.leafIndex);
          yield { event, resumeToken: makeResumeToken(tenantId, described, place) };
        }
      });
    },
    stop: () => stopping.abort(),
  };
}

function eventsOf(
  { pool, checkEvent, weight }: TailEventsDependencies,
  auditor: Auditor,
  filter: EventFilter,
  resumed: TailPlace | undefined,
): FollowSource<TailPlace, StoredEvent> {
  const { tenantId } = auditor;

  /** Reads how the log has the place behind so many events, and the one at its end, together with what else is asked for. */
  async function look(passed: bigint, ...statements: readonly Statement[]): Promise<Look> {
    const options = {
      tenantId,
      timeoutMs: auditor.remainingMs(),
      signal: auditor.signal,
      readOnly: true,
      planEachTime: true,
    };
    const [identified, ended, last, ...results] = await reportDatabaseFaults(() =>
      runForTenant(pool, options, [
        readDatabaseIdentity,
        readLogEnd(tenantId), // Before the events: what lies before this end was there when they were read.
        readLeafDigest(tenantId, passed - 1n),
        ...statements,
      ]),
    );
    const { identity = "" }: Partial<IdentityRow> = identified?.rows[0] ?? {};
    const end: LogEndRow | undefined = ended?.rows[0];
    const at: LeafDigestRow | undefined = last?.rows[0];
    return {
      at: { identity, passed, digest: toHex(at?.digest) },
      end: { identity, passed: BigInt(end?.size ?? 0), digest: toHex(end?.last_digest) },
      results,
    };
  }

  return {
    async start() {
      const { at, end } = await look(resumed?.passed ?? 0n);
      if (!resumed) return end;
      expectSame(at, resumed);
      return resumed;
    },

    async readBehind(place) {
      const page = { pageSize: pageCountMax, weight: { ...weight, bytesMax: pageBytesMax } };
      const listing = listEvents({ tenantId, filter, afterLeafIndex: place.passed - 1n, ...page });
      const { at, end, results } = await look(place.passed, listing);
      expectSame(at, place);
      const rows: readonly ListedEventRow[] = results[0]?.rows ?? [];
      const steps = rows.map((row) => {
        const item = checkEvent(tenantId, row);
        const behind = { passed: item.leafIndex + 1n, digest: toHex(row.digest) };
        return { item, place: { ...place, ...behind } };
      });
      return { steps, end };
    },
  };
}

interface Look {
  readonly at: TailPlace;
  readonly end: TailPlace;
  readonly results: readonly QueryResult[];
}

/** A database that was put back, or another that took its place, has another log to go on in. */
function expectSame(present: TailPlace, place: TailPlace): void {
  const isSame = present.identity === place.identity && present.digest === place.digest;
  if (!isSame) throw new Fault<Reason>("RESUME_TOKEN_EXPIRED");
}

function toHex(digest: Buffer | null | undefined): string {
  return digest?.toString("hex") ?? "";
}
