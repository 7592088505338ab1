import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import type { AuditClient } from "#libs/client/audit-client.ts";
import type { GetCheckpointResponse } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { createNoteSigner } from "#libs/merkle/signed-note.ts";
import { openPool } from "#libs/pg/pool.ts";
import { keptLog } from "./kept-output.ts";
import type { SignerConfig } from "#services/audit/config.ts";
import { openSigner, type Signer } from "#services/audit/signer/signer.ts";
import { catchUp } from "#services/audit/store/append-events.ts";
import type { AuditDatabase } from "./databases.ts";
import { waitUntil } from "./wait-until.ts";

/** What a signer has besides its database: keys, and the folder of last checkpoints. */
export interface Signing extends AsyncDisposable {
  readonly keys: string;
  readonly home: string;
  config(database: AuditDatabase): SignerConfig;
  /** Adds a private key as a file of this name. */
  addKey(name: string): Promise<void>;
  removeKey(name: string): Promise<void>;
  /** The verifier keys of a tenant's log, of every private key in the folder. */
  vkeys(tenant: string): Promise<string[]>;
  /** The last checkpoint of a tenant's log; "" where there is none. */
  lastNote(tenant: string): Promise<string>;
}

export const logOrigin = "test.example/log";

/** Folders of their own with one key, which go when it is disposed. */
export async function makeSigning(): Promise<Signing> {
  const folder = await mkdtemp(join(tmpdir(), "caseflow-signing-"));
  const [keys, home] = [join(folder, "keys"), join(folder, "home")];
  for (const path of [keys, home]) await mkdir(path);
  const signing: Signing = {
    keys,
    home,
    config: ({ signerUrl }) => ({
      signerDatabaseUrl: signerUrl,
      signingKeys: keys,
      signerHome: home,
      logOrigin,
    }),
    async addKey(name) {
      const { privateKey } = generateKeyPairSync("ed25519");
      const pem = privateKey.export({ type: "pkcs8", format: "pem" });
      await writeFile(join(keys, name), pem, { mode: 0o600 });
    },
    removeKey: (name) => rm(join(keys, name)),
    async vkeys(tenant) {
      const names = (await readdir(keys)).toSorted();
      const pems = await Promise.all(names.map((name) => readFile(join(keys, name))));
      return pems.map((pem) => createNoteSigner(`${logOrigin}/${tenant}`, createPrivateKey(pem)).vkey);
    },
    lastNote: (tenant) => readFile(join(home, `${tenant}.checkpoint`), "utf8").catch(() => ""),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
  await signing.addKey("1.pem");
  return signing;
}

/** A signer alone, without a service; it finds what there is to sign by its poll. */
export async function startSigner(database: AuditDatabase, signing: Signing): Promise<Signer> {
  await using opened = new AsyncDisposableStack();
  const pool = opened.use(
    openPool({
      url: database.appUrl,
      max: 4,
      applicationName: "catch-up",
      connectTimeoutMs: 5_000,
      onError: () => {}, // Told to whoever uses the connection.
    }),
  );
  const signer = opened.use(
    await openSigner({
      ...signing.config(database),
      catchUp: (tenantId) => catchUp(pool, { tenantId, timeoutMs: 10_000 }),
      now: () => new Date(),
      log: keptLog("signer-test"),
    }),
  );
  const running = opened.move();
  return {
    wake: signer.wake,
    signNote: signer.signNote,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Waits until a signed checkpoint covers every event of the tenant's log, and gives it. */
export async function untilSealed(auditor: AuditClient): Promise<GetCheckpointResponse> {
  let sealed: GetCheckpointResponse | undefined;
  await waitUntil(async () => {
    const answer = await auditor.getCheckpoint({}).catch(undefinedWhenNone);
    if (answer?.unsealedCount === 0n) sealed = answer;
    return sealed !== undefined;
  });
  return sealed!; // Else it still waits.
}

function undefinedWhenNone(error: unknown): undefined {
  if (ConnectError.from(error).code !== Code.NotFound) throw error;
}
