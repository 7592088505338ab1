import { copyFile, cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import { expect } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { startAuditService, type AuditServiceFixture } from "./audit-service.ts";
import { openFolder, type Ended } from "./caseflow-command.ts";
import { openCase, startCaseService, tenant } from "./case-service.ts";
import { commandInProcess } from "./command-in-process.ts";
import { cloneAuditDatabase, type AuditDatabase } from "./databases.ts";
import { commandEnvOf, deliver, newCases } from "./delivered-log.ts";
import { makeSigning, untilSealed } from "./signing.ts";
import { openSuperuser } from "./superuser.ts";
import { createIssuer } from "./tokens.ts";
import { unbind } from "./tamper-rows.ts";
import { untilDelivered } from "./until-delivered.ts";
import { waitUntil } from "./wait-until.ts";

/** An event of the log, where it stands. */
export interface SealedEvent {
  readonly leafIndex: number;
  readonly eventId: string;
  readonly bytes: Buffer;
  /** Where the next event of its subject stands. */
  readonly nextLeaf: number | undefined;
}

/** What is done to the log, which is put back first. */
export interface Tampering {
  /** As the superuser, while no service runs. */
  readonly act?: (superuser: pg.Client) => Promise<unknown>;
  /** The signer has forgotten what it signed. */
  readonly losesState?: boolean;
  /** What is delivered besides once the service runs. */
  readonly delivers?: readonly Uint8Array[];
  /** The event that a proof is asked of. */
  readonly provedLeaf: number;
}

/** What is said of a log that was tampered with. */
export interface Found {
  /** Of the service's own log, an export of it, and a new mirror of it. */
  readonly service: Ended;
  readonly exported: Ended;
  readonly mirrored: Ended;
  /** Of the proof of an event. */
  readonly proved: Ended;
  /** Once one more event was delivered: why the signer refused; "signs" where it did not. */
  readonly signer: string;
  /** Then again of the service's own log, and of the mirror from before, brought up to date. */
  readonly later: Ended;
  readonly mirroredOn: Ended;
}

/** A service on the log's database. */
export interface Reopened extends AsyncDisposable {
  readonly audit: AuditServiceFixture;
  readonly superuser: pg.Client;
  /** Lines of the service's log. */
  readonly logged: readonly Record<string, unknown>[];
  lastNote(): Promise<string>;
  /** Files of its own, the state and the mirror from before the tampering among them. */
  path(name: string): string;
  /** The command, as an auditor; with the log's key, or without. */
  run(...args: readonly string[]): Promise<Ended>;
  runAsIs(...args: readonly string[]): Promise<Ended>;
}

/**
 * A log of real cases that was signed, as whoever audits it has verified and mirrored it. No service runs on its database, from whose
 * events the constraints are gone. Opened once at a time.
 */
export interface SealedLog extends AsyncDisposable {
  readonly events: readonly SealedEvent[];
  readonly vkey: string;
  /** Its export, and the proof of an event. */
  readonly exportFile: string;
  readonly proofFile: string;
  /** Starts a service on the log as it was, but for what was done to it. */
  reopen(tampering?: Pick<Tampering, "act" | "losesState">): Promise<Reopened>;
  /** Asks everybody about the log after that. */
  tamper(tampering: Tampering): Promise<Found>;
}

/** Events of drafts, behind which stand those of cases that were led to their ends: these fill a tile and begin the next. */
const draftCount = 200;
const closedCount = 12;

export async function sealLog(): Promise<SealedLog> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const database = opened.use(await cloneAuditDatabase());
  const signing = opened.use(await makeSigning());
  const folder = opened.use(await openFolder());
  const [vkey = ""] = await signing.vkeys(tenant);
  const withKey = (...args: readonly string[]) => [...args, "--vkey", vkey];
  await mkdir(folder.path("kept"));
  const kept = (name: string) => join(folder.path("kept"), name);
  const [exportFile, proofFile] = [folder.path("log.ndjson"), folder.path("proof")];
  let events: readonly SealedEvent[];
  {
    await using audit = await startAuditService({ issuer, database, signing });
    await using cases = await startCaseService({ issuer, auditUrl: audit.url });
    await deliver(audit, newCases(draftCount));
    await Promise.all(Array.from({ length: closedCount }, () => openCase(cases, "closed")));
    await untilDelivered(cases.database);
    await untilSealed(await audit.auditor());
    const env = await commandEnvOf(audit);
    for (const args of [
      withKey("verify", "--state", kept("state")),
      withKey("log", "mirror", kept("mirror")),
      ["log", "export", "--out", exportFile],
    ])
      expect(await commandInProcess(args, env)).toMatchObject({ exit: 0 });
    events = await readEvents(database);
    const proof = withKey("log", "proof", events[0]!.eventId, "--out", proofFile);
    expect(await commandInProcess(proof, env)).toMatchObject({ exit: 0 });
  }
  await using keeper = await openSuperuser(database.superuserUrl);
  await keeper.query(`${unbind}; ${keep}`);
  let count = 0;
  const reopen: SealedLog["reopen"] = async ({ act, losesState = false } = {}) => {
    await using own = new AsyncDisposableStack();
    const ownSigning = own.use(await makeSigning());
    await cp(signing.keys, ownSigning.keys, { recursive: true });
    const last = `${tenant}.checkpoint`;
    if (!losesState) await copyFile(join(signing.home, last), join(ownSigning.home, last));
    count += 1;
    const files = folder.path(String(count));
    await cp(folder.path("kept"), files, { recursive: true });
    const superuser = own.use(await openSuperuser(database.superuserUrl));
    await superuser.query(putBack);
    await act?.(superuser);
    const logged: Record<string, unknown>[] = [];
    const audit = own.use(await startAuditService({ issuer, database, signing: ownSigning, logged }));
    const env = await commandEnvOf(audit);
    const reopened = own.move();
    return {
      ...{ audit, superuser, logged },
      lastNote: () => ownSigning.lastNote(tenant),
      path: (name) => join(files, name),
      run: (...args) => commandInProcess(withKey(...args), env),
      runAsIs: (...args) => commandInProcess(args, env),
      [Symbol.asyncDispose]: () => reopened.disposeAsync(),
    };
  };
  const running = opened.move();
  return {
    events,
    vkey,
    exportFile,
    proofFile,
    reopen,
    async tamper({ delivers = [], provedLeaf, ...tampering }) {
      await using reopened = await reopen(tampering);
      await deliver(reopened.audit, delivers);
      return await askEverybody(reopened, events[provedLeaf]!.eventId);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

const tables = ["events", "subject_heads", "logs", "tiles", "checkpoints", "verifier_keys"];
const keep = `CREATE SCHEMA kept; ${tables.map((name) => `CREATE TABLE kept.${name} AS TABLE ${name}`).join("; ")}`;
const putBack = `TRUNCATE ${tables.join()}; ${tables.map((name) => `INSERT INTO ${name} TABLE kept.${name}`).join("; ")}`;

async function askEverybody(reopened: Reopened, provedId: string): Promise<Found> {
  const { audit, logged, run, runAsIs, path, lastNote } = reopened;
  const auditor = await audit.auditor();
  const why = () => logged.map((line) => line["why"]).find((one) => typeof one === "string");
  const verify = (...source: readonly string[]) => run("verify", ...source, "--state", path("state"));
  // What the signer does by itself, it does first.
  await waitUntil(async () => why() !== undefined || (await isSealed(auditor)));

  const service = await verify();
  const got = await runAsIs("log", "export", "--out", path("log.ndjson"));
  const exported = got.exit === 0 ? await verify(path("log.ndjson")) : got;
  const mirrored = await run("log", "mirror", path("new-mirror"));
  const proved = await run("log", "proof", provedId, "--out", path("proof"));

  const signedBefore = await lastNote();
  await deliver(audit, newCases(1));
  await waitUntil(async () => why() !== undefined || (await lastNote()) !== signedBefore);
  const signer = why() ?? "signs";
  await waitUntil(async () => signer !== "signs" || (await isSealed(auditor)));
  const later = await verify();
  const mirroredOn = await run("log", "mirror", path("mirror"));
  return { service, exported, mirrored, proved, signer, later, mirroredOn };
}

/** Whether a signed checkpoint covers every event. */
async function isSealed(auditor: AuditClient): Promise<boolean> {
  const { unsealedCount } = await auditor.getCheckpoint({}).catch(() => ({ unsealedCount: undefined })); // None yet.
  return unsealedCount === 0n;
}

async function readEvents(database: AuditDatabase): Promise<readonly SealedEvent[]> {
  await using superuser = await openSuperuser(database.superuserUrl);
  const { rows } = await superuser.query<{ bytes: Buffer; event_id: string; next: number | null }>(
    `SELECT bytes, event_id, lead(leaf_index) OVER (PARTITION BY source, subject ORDER BY leaf_index)::int AS next
         FROM events WHERE tenant_id = $1 ORDER BY events.leaf_index`,
    [tenant],
  );
  return rows.map(({ bytes, event_id: eventId, next }, leafIndex) => ({
    ...{ leafIndex, eventId, bytes, nextLeaf: next ?? undefined },
  }));
}
