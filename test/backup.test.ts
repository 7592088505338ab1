import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { forgetPostgres } from "#libs/postgres-server/forget-postgres.ts";
import { startPostgres, type PostgresServer } from "#libs/postgres-server/start-postgres.ts";
import { createDatabases, databaseRoles, type DatabaseKind } from "#services/local/databases.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { findPostgres15 } from "./support/attack-postgres-15.ts";
import { startAuditService } from "./support/audit-service.ts";
import { content, openCase, setPolicy, startCaseService } from "./support/case-service.ts";
import { migrateDatabase } from "./support/cluster.ts";
import { compareServices, toTold } from "./support/compare-services.ts";
import { cloneCaseDatabase, type AuditDatabase, type CaseDatabase } from "./support/databases.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { listAllEvents, type Pair } from "./support/pair.ts";
import { openSuperuser } from "./support/superuser.ts";
import { createIssuer, type Issuer } from "./support/tokens.ts";
import { untilDelivered } from "./support/until-delivered.ts";
import { openWatch, startWatch } from "./support/watcher.ts";

expectNoLeaks();

/*
 * docs/backup.md, done as it is printed: dumps of both databases, put back on another server, while the services went on behind the
 * dumps. Needs a pg_dump that is not older than the server.
 */

const run = promisify(execFile);
const names = { case: "caseflow_case", audit: "caseflow_audit" } as const;
const runMs = 120_000;

/** Where pg_dump and pg_restore are, and which server they are for; absent: the embedded one. */
interface Programs {
  readonly bin: string;
  readonly nativeDir?: string;
}

/** What is on the path, where it is new enough for the server of this run; else PostgreSQL 15, server and all. */
async function findPrograms(): Promise<Programs | undefined> {
  const { stdout } = await run("pg_dump", ["--version"]).catch(() => ({ stdout: "" }));
  const major = Number(/\(PostgreSQL\) (\d+)/.exec(stdout)?.[1] ?? 0);
  const nativeDir = process.env["TEST_POSTGRES_BIN"];
  if (major >= (await serverMajor())) return { bin: "", ...(nativeDir !== undefined && { nativeDir }) };
  const folder = await findPostgres15();
  return folder === undefined ? undefined : { bin: folder, nativeDir: folder };
}

async function serverMajor(): Promise<number> {
  await using database = await cloneCaseDatabase();
  await using superuser = await openSuperuser(database.superuserUrl);
  const { rows } = await superuser.query<{ major: number }>(
    "SELECT current_setting('server_version_num')::integer / 10000 AS major",
  );
  return rows[0]!.major;
}

/** The blocks of docs/backup.md in one language, in their order. */
async function printed(language: "sh" | "sql"): Promise<readonly string[]> {
  const path = fileURLToPath(new URL("../docs/backup.md", import.meta.url));
  const blocks = (await readFile(path, "utf8")).matchAll(/```(?<language>\w+)\n(?<text>[^`]*)```/g);
  return [...blocks].flatMap(({ groups }) => (groups?.["language"] === language ? [groups["text"]!] : []));
}

interface Server extends AsyncDisposable {
  readonly postgres: PostgresServer;
  readonly case: CaseDatabase;
  readonly audit: AuditDatabase;
}

/** A server of its own with both roles' databases, empty. */
async function startServer({ nativeDir }: Programs): Promise<Server> {
  await using opened = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), "caseflow-backup-"));
  opened.defer(async () => {
    await forgetPostgres({ home });
    await rm(home, { recursive: true, force: true });
  });
  const postgres = opened.use(
    await startPostgres({ home, fsync: false, ...(nativeDir !== undefined && { nativeDir }) }),
  );
  await createDatabases(postgres.url("postgres", "postgres"), names);
  const running = opened.move();
  return {
    postgres,
    case: databaseOn(postgres, "case"),
    audit: databaseOn(postgres, "audit"),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function databaseOn(postgres: PostgresServer, kind: DatabaseKind): CaseDatabase & AuditDatabase {
  const [name, { owner, users }] = [names[kind], databaseRoles[kind]];
  return {
    name,
    ownerUrl: postgres.url(owner, name),
    appUrl: postgres.url(users[0], name),
    relayUrl: postgres.url("case_relay", name),
    signerUrl: postgres.url("audit_signer", name),
    superuserUrl: postgres.url("postgres", name),
    [Symbol.asyncDispose]: async () => {},
  };
}

async function startOn(
  issuer: Issuer,
  caseDatabase: CaseDatabase,
  auditDatabase: AuditDatabase,
): Promise<Pair> {
  await using opened = new AsyncDisposableStack();
  const audit = opened.use(await startAuditService({ issuer, database: auditDatabase }));
  const options = { issuer, auditUrl: audit.url, database: caseDatabase };
  const cases = opened.use(await startCaseService({ ...options, config: { relayPollMs: 50 } }));
  const running = opened.move();
  return { cases, audit, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

function auditedBy({ cases, audit }: Pair): Promise<AuditedEvent[]> {
  return listAllEvents(audit.url, cases.issuer);
}

async function rename({ cases }: Pair, caseId: string): Promise<void> {
  const caseworker = await cases.as("caseworker");
  const [requestId, updateMask] = [randomUUID(), { paths: ["title"] }];
  await caseworker.updateCase({ requestId, caseId, content: { ...content, title: requestId }, updateMask });
}

test(
  "both databases come back from their dumps on another server, and what each lost by it is named and, of the audit service, mended",
  { timeout: runMs },
  async ({ annotate, skip }) => {
    const programs =
      (await findPrograms()) ??
      skip("no pg_dump as new as the server is on the path, and PostgreSQL 15 is not on this machine");
    await annotate(`pg_dump of ${programs.bin || "the path"}`);
    await using issuer = await createIssuer();
    await using live = await startServer(programs);
    for (const kind of ["case", "audit"] as const) await migrateDatabase(kind, live[kind].ownerUrl);
    const folder = await mkdtemp(join(tmpdir(), "caseflow-dumps-"));
    await using _folder = { [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
    const [dump, restore] = await printed("sh");
    const [forgetTransactions, ...otherSql] = await printed("sql");
    expect(otherSql).toEqual([]);
    const shell = (script: string, of: Server) =>
      run("sh", ["-eu", "-c", script], {
        cwd: folder,
        env: {
          PATH: [programs.bin, process.env["PATH"]].filter(Boolean).join(":"),
          CASE_SUPERUSER_URL: of.case.superuserUrl,
          AUDIT_SUPERUSER_URL: of.audit.superuserUrl,
        },
      });

    const lived = await (async () => {
      await using pair = await startOn(issuer, live.case, live.audit);
      await using watch = await openWatch(await pair.cases.as("auditor"));
      const caseId = await openCase(pair.cases);
      await openCase(pair.cases, "approved");
      await setPolicy(pair.cases, "permit");
      await watch.until((messages) => messages.some((message) => message.case?.caseId === caseId));
      await untilDelivered(live.case);
      const before = await auditedBy(pair);
      await shell(dump!, live);
      await rename(pair, caseId);
      await openCase(pair.cases, "submitted");
      await setPolicy(pair.cases, "permit");
      await untilDelivered(live.case);
      const after = await auditedBy(pair);
      return { caseId, before, after, lost: after.slice(before.length), resumeToken: watch.resumeToken };
    })();
    const { caseId, before, after, lost, resumeToken } = lived;
    const bytesOf = (events: readonly AuditedEvent[]) =>
      events.map(({ eventBytes }) => Buffer.from(eventBytes).toString("base64"));

    await using other = await startServer(programs);
    await shell(restore!, other);
    {
      await using superuser = await openSuperuser(other.case.superuserUrl);
      await superuser.query(forgetTransactions!);
    }
    {
      await using pair = await startOn(issuer, other.case, other.audit);
      expect(await compareServices(pair)).toMatchObject({ told: [], totals: { entries: before.length } });
      expect(bytesOf(await auditedBy(pair))).toEqual(bytesOf(before));
      const auditor = await pair.cases.as("auditor");
      expect(await startWatch(auditor, resumeToken).ended).toBe("OutOfRange RESUME_TOKEN_EXPIRED");
    }
    // The audit database alone is put back: what it lost comes again, and in order.
    {
      await using pair = await startOn(issuer, live.case, other.audit);
      expect((await compareServices(pair, { repair: true })).told).toEqual(toTold("missing", lost));
      await untilDelivered(live.case);
      expect((await compareServices(pair)).told).toEqual([]);
      expect(bytesOf(await auditedBy(pair)).toSorted()).toEqual(bytesOf(after).toSorted());
    }
    // The case database alone is put back: what it lost is named, and what is written then takes nothing's place.
    await using pair = await startOn(issuer, other.case, live.audit);
    expect((await compareServices(pair, { repair: true })).told).toEqual(toTold("unexpected", lost));
    await using watch = await openWatch(await pair.cases.as("auditor"));
    await rename(pair, caseId);
    await watch.until((messages) => messages.some((message) => message.case?.version === 2));
    await untilDelivered(other.case);
    expect(bytesOf(await auditedBy(pair))).toEqual(bytesOf(after));
    const { findings } = await compareServices(pair);
    expect(findings.filter(({ outcome }) => outcome !== "unexpected")).toMatchObject([
      { outcome: "different", subject: caseId, sequence: 2 },
    ]);
  },
);
