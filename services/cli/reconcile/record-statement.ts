import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { v7 } from "uuid";
import { replaceFile } from "#libs/files/replace-file.ts";
import { DeliveryOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { ActorKind, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";

import { Failure } from "../failure.ts";
import type { Identity } from "../find-service.ts";
import { proveEvent } from "../log/prove-event.ts";
import { judgeProof } from "../verify/judge-proof.ts";
import {
  reconciledSource,
  statementSchemaVersion,
  statementSource,
  statementSubject,
  statementType,
} from "../verify/rules-reconciliation.ts";
import { compareLog, type ComparedLog, type LogSides } from "./compare-log.ts";
import { untilSealed } from "./until-sealed.ts";

/*
 * States in the log that both sides agree, and proves the statement.
 *
 *   compare   the entries with the whole signed log. Where they differ nothing is stated
 *   record    one event, behind the last statement among the leaves compared. Where another run has recorded one since, the log
 *             has a statement that this one does not know of: the log is compared again
 *   prove     once it is sealed, the statement is written down with its proof
 *
 * Killed before `record`, nothing has happened; killed after it, the statement is in the log, and `caseflow log proof` proves it.
 */

export interface Statement {
  readonly eventId: string;
  readonly leafIndex: number;
  readonly treeSize: number;
  readonly entryCount: number;
}

export interface RecordOptions extends LogSides {
  /** Who states it. */
  readonly author: Identity;
  /** Where the signed statement goes: a C2SP tlog-proof of its event. */
  readonly file: string;
}

const attemptsMax = 5;
const fileMode = 0o600;

/** `undefined` when the sides differ, which is reported. Throws as `compareLog` does, and `Failure` when it cannot be recorded or proved. */
export async function recordStatement(options: RecordOptions): Promise<Statement | undefined> {
  const { audit, keys, file } = options;
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const log = await compareLog(options);
    if (!log) return undefined;
    const statement = await record(options, log);
    if (!statement) continue;
    const { eventId, leafIndex } = statement;
    try {
      await untilSealed(audit, leafIndex + 1);
      const text = await proveEvent(audit, eventId);
      judgeProof(text, keys); // What does not hold is never written.
      await replaceFile(file, text, fileMode);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      const advice = `caseflow log proof ${eventId} proves it later`;
      throw new Failure(`the statement is recorded, and not written down: ${why}; ${advice}`, { cause });
    }
    return statement;
  }
  throw new Failure(`others recorded a statement before this one ${attemptsMax} times: try again`);
}

/** `undefined`: another statement has taken its place. */
async function record({ audit, author }: RecordOptions, log: ComparedLog): Promise<Statement | undefined> {
  const { checkpoint, entryCount, entriesDigest, lastStatement: last } = log;
  const nowMs = Date.now();
  const eventId = v7({ msecs: Math.max(nowMs, last ? readMs(last.eventId) + 1 : 0) }); // Ids sort as sequences do.
  const event = create(EventSchema, {
    ...{ eventId, source: statementSource, type: statementType, schemaVersion: statementSchemaVersion },
    ...{ tenantId: author.tenantId, subject: statementSubject },
    subjectSequence: (last?.sequence ?? 0n) + 1n,
    ...(last && { previousDigest: last.digest }),
    actor: {
      id: author.principalId,
      kind: author.kind === "service" ? ActorKind.SERVICE : ActorKind.PERSON,
      roles: author.roles.toSorted(),
      onBehalfOf: author.onBehalfOf,
    },
    occurredAt: timestampFromMs(nowMs),
    recordedAt: timestampFromMs(nowMs),
    reconciliation: {
      source: reconciledSource,
      treeSize: BigInt(checkpoint.size),
      rootHash: checkpoint.root,
      entryCount: BigInt(entryCount),
      entriesDigest,
    },
  });
  const { outcomes } = await audit.recordEvents({ events: [toBinary(EventSchema, event)] });
  const [{ outcome, reason, leafIndex } = { outcome: 0, reason: "", leafIndex: undefined }] = outcomes;
  if (outcome === DeliveryOutcome.APPLIED || outcome === DeliveryOutcome.DUPLICATE) {
    return { eventId, leafIndex: Number(leafIndex), treeSize: checkpoint.size, entryCount };
  }
  const isTaken = outcome === DeliveryOutcome.OUT_OF_ORDER || reason === "SEQUENCE_REUSED";
  if (isTaken) return undefined;
  throw new Failure(`the audit service does not take the statement: ${reason}`);
}

/** The millisecond of a UUIDv7. */
function readMs(eventId: string): number {
  return Number.parseInt(eventId.replaceAll("-", "").slice(0, 12), 16);
}
