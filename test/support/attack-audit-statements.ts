import { createHash } from "node:crypto";
import { v7 } from "uuid";
import { insertAccess, lastAccessId, listAccesses } from "#services/audit/store/access-log.ts";
import type { Candidate } from "#services/audit/store/append-events.ts";
import { emptyTree } from "#libs/merkle/tree.ts";
import {
  findLogHead,
  insertCheckpoint,
  insertVerifierKeys,
  listSignedLogs,
  listVerifierKeys,
} from "#services/audit/store/checkpoints.ts";
import type { Access } from "#services/audit/domain/access.ts";
import { findEvent, insertEvents, readRecorded } from "#services/audit/store/events.ts";
import { listEvents } from "#services/audit/store/list-events.ts";
import { listSubjectHeads, readSubjectHeads, saveSubjectHeads } from "#services/audit/store/subject-heads.ts";
import { readLeafDigest, readLogEnd } from "#services/audit/store/log-end.ts";
import { createLog, lockLog, saveLog } from "#services/audit/store/logs.ts";
import { readOpenLeaves, readOpenRoots } from "#services/audit/store/open-tiles.ts";
import { findTile, insertTiles, listLeafHashes, listTileRoots } from "#services/audit/store/tiles.ts";
import type { Attack } from "./attack-statements.ts";

const bytesMax = 1_000_000;

/** What the victim has in the audit database: the last event of a subject. */
export interface VictimsEvent {
  readonly eventId: string;
  readonly source: string;
  readonly subject: string;
  readonly sequence: bigint;
  readonly size: bigint;
}

export function auditAttacks(last: VictimsEvent): readonly Attack[] {
  const { eventId, source, subject, sequence, size } = last;
  const weight = { bytesMax, perEventByte: 1, perEvent: 1 };
  const query = { afterLeafIndex: -1n, pageSize: 100, weight };
  const filter = { source, subject };
  const times = { occurredFromMicros: 0n, recordedFromMicros: 0n, receivedFromMicros: 0n };
  const head = {
    source,
    subject,
    lastSequence: sequence,
    lastDigest: sha256(Buffer.from("attack")),
  };
  const app = (name: string, make: Attack["make"]): Attack => ({ name, role: "audit_app", make });
  const signer = (name: string, make: Attack["make"]): Attack => ({ name, role: "audit_signer", make });
  return [
    app("readRecorded", (tenantId) => readRecorded(tenantId, [eventId])),
    app("findEvent", (tenantId) => findEvent(tenantId, eventId)),
    app("listEvents", (tenantId) => listEvents({ ...query, tenantId, filter: {} })),
    app("listEvents with filters", (tenantId) =>
      listEvents({ ...query, tenantId, filter, beforeLeafIndex: size }),
    ),
    app("listEvents of a time", (tenantId) =>
      listEvents({ ...query, tenantId, filter: { ...filter, ...times } }),
    ),
    app("listAccesses", (tenantId) => listAccesses(tenantId, {}, lastAccessId, 100)),
    app("listAccesses with filters", (tenantId) =>
      listAccesses(
        tenantId,
        { principalId: "auditor", method: "ListEvents", from: new Date(0) },
        lastAccessId,
        100,
      ),
    ),
    app("insertAccess", (tenantId) => insertAccess(tenantId, access())),
    { ...app("createLog", createLog), idle: true },
    app("lockLog", lockLog),
    app("saveLog", (tenantId) => saveLog(tenantId, size + 7n, emptyTree)),
    app("readLogEnd", readLogEnd),
    app("readLeafDigest", (tenantId) => readLeafDigest(tenantId, 0n)),
    app("readSubjectHeads", (tenantId) => readSubjectHeads(tenantId, [{ source, subject }])),
    app("listSubjectHeads", (tenantId) => listSubjectHeads(tenantId, "", { source: "", subject: "" }, 100)),
    app("listSubjectHeads of a source", (tenantId) =>
      listSubjectHeads(tenantId, source, { source, subject: "" }, 100),
    ),
    app("saveSubjectHeads", (tenantId) => saveSubjectHeads(tenantId, [head])),
    app("insertEvents", (tenantId) =>
      insertEvents(tenantId, [{ ...nextEvent(last, tenantId), leafIndex: size }]),
    ),
    app("readOpenLeaves", (tenantId) => readOpenLeaves(tenantId, 256, 1)),
    app("readOpenRoots", (tenantId) => readOpenRoots(tenantId, 65_536)),
    app("insertTiles", (tenantId) => insertTiles(tenantId, [madeUpTile])),
    app("findTile", (tenantId) => findTile(tenantId, 0, 0)),
    app("listTileRoots", (tenantId) => listTileRoots(tenantId, 0, 0, 256)),
    app("listLeafHashes", (tenantId) => listLeafHashes(tenantId, 0, 256)),
    app("findLogHead", findLogHead),
    app("listVerifierKeys", listVerifierKeys),
    signer("listSignedLogs", () => listSignedLogs("", 10)),
    signer("insertCheckpoint", (tenantId) =>
      insertCheckpoint(tenantId, { treeSize: Number(size) + 7, note: "attack", sealedAtMicros: 0n }),
    ),
    signer("insertVerifierKeys", (tenantId) => insertVerifierKeys(tenantId, ["attack"], 0n)),
  ];
}

const madeUpTile = { level: 5, index: 7, hashes: Buffer.alloc(8_192), root: Buffer.alloc(32) };
function access(): Access {
  return {
    accessId: v7(),
    at: new Date(),
    principal: { id: "mallory", kind: "person", onBehalfOf: "", roles: ["auditor"] },
    ...{ method: "GetEvent", filter: "{}", outcome: "OK", givenCount: 0 },
    ...{ firstLeafIndex: undefined, lastLeafIndex: undefined, begunBy: undefined },
  };
}

function nextEvent(
  { source, subject, sequence }: VictimsEvent,
  tenantId: string,
): Pick<Candidate, "event" | "bytes" | "digest"> {
  const bytes = Buffer.from("attack");
  const event = {
    ...{
      eventId: v7(),
      source,
      type: "attack.made",
      tenantId,
      subject,
      sequence: sequence + 1n,
      ...{ previousDigest: "", originalDigest: "" },
    },
    ...{ actorId: "mallory", onBehalfOf: "", requestId: "", correlationId: "", traceparent: "" },
    ...{ occurredAtMicros: 0n, recordedAtMicros: 0n },
  };
  return { event, bytes, digest: sha256(bytes) };
}

/** In hex. */
function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
