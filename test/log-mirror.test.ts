import { cp, readdir, readFile, watch, writeFile } from "node:fs/promises";
import { createServer } from "node:http2";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fromBinary } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import { readVerifierKey } from "#libs/merkle/signed-note.ts";
import { judgeMirror } from "#services/cli/verify/judge-mirror.ts";
import { readFolder } from "#services/cli/verify/mirror-files.ts";
import type { LogKeys } from "#services/cli/verify/read-signed.ts";
import { startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { type Ended, type Folder, openFolder, startCaseflow } from "./support/caseflow-command.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { commandEnvOf, deliver, newCases } from "./support/delivered-log.ts";
import { appealDecided } from "./support/made-cases.ts";
import { createRandom } from "./support/permit-file.ts";
import { makeSigning, untilSealed, type Signing } from "./support/signing.ts";
import { openSuperuser } from "./support/superuser.ts";

/* A mirror of a service's log, kept up to date by the command, and the same log as the service itself tells it. */

let stack: AsyncDisposableStack;
let signing: Signing;
let audit: AuditServiceFixture;
let folder: Folder;
let keys: LogKeys;
let vkey: string;
let env: Record<string, string>;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  signing = stack.use(await makeSigning());
  folder = stack.use(await openFolder());
  audit = stack.use(await startAuditService({ signing }));
  [vkey = ""] = await signing.vkeys("acme");
  keys = { origin: vkey.split("+")[0]!, verifiers: [readVerifierKey(vkey)] };
  env = await commandEnvOf(audit);
});
afterAll(() => stack.disposeAsync());

const mirror = (into: string, with_: Record<string, string> = env): Promise<Ended> =>
  commandInProcess(["log", "mirror", folder.path(into), "--vkey", vkey], with_);
/** Without a source it is the log of the service that the settings name. */
const verify = (...args: readonly string[]): Promise<Ended> =>
  commandInProcess(["verify", ...args, "--vkey", vkey], env);
const sizeOf = async (name: string) =>
  (await judgeMirror(readFolder(folder.path(name)), { keys })).checkpoint.size;

test("a mirror follows the log, and verifies as the service itself and its export do", async () => {
  await deliver(audit, appealDecided().entries);
  await untilSealed(await audit.auditor());
  const first = await mirror("m");
  expect(first, first.stderr).toMatchObject({
    exit: 0,
    stdout: expect.stringMatching(/^added=11 size=11 root=/),
  });
  await deliver(audit, newCases(300));
  await untilSealed(await audit.auditor());
  expect((await mirror("m")).stdout).toMatch(/^added=300 size=311 /);
  expect((await mirror("m")).stdout).toMatch(/^added=0 size=311 /);
  await commandInProcess(["log", "export", "--out", folder.path("log.ndjson")], env);
  const verdicts: Ended[] = [];
  for (const source of [[folder.path("m")], [folder.path("log.ndjson")], [audit.url], []])
    verdicts.push(await verify(...source));
  for (const verdict of verdicts) {
    expect(verdict, verdict.stderr).toMatchObject({
      exit: 0,
      stdout: expect.stringMatching(/^events=311 subjects=301 size=311 /),
    });
  }
  expect(new Set(verdicts.map(({ stdout }) => stdout)).size).toBe(1);
});

test("a service is asked with a token alone, and what it does not give is told", async () => {
  const ask = (token: Record<string, string>, url = audit.url) =>
    commandInProcess(["verify", url, "--vkey", vkey], token);
  expect(await ask({ CASEFLOW_HOME: folder.path("none") })).toMatchObject({
    exit: 3,
    stderr: expect.stringMatching(/set CASEFLOW_TOKEN/),
  });
  const clerk = await audit.issuer.token({ tenant: "acme", sub: "ann", roles: ["caseworker"] });
  expect(await ask({ CASEFLOW_TOKEN: clerk })).toMatchObject({
    exit: 3,
    stderr: expect.stringMatching(/does not give its log/),
  });
  expect(await ask({ CASEFLOW_TOKEN: clerk }, `${audit.url}/logs/acme`)).toMatchObject({
    exit: 3,
    stderr: expect.stringMatching(/it is no mirror of a log/),
  });
});

test("an event that was rewritten in the database shows in the service's own log, and in a new mirror of it", async () => {
  await using superuser = await openSuperuser(audit.database.superuserUrl);
  const rewrite = (bytes: string) =>
    superuser.query(
      `UPDATE events SET bytes = ${bytes}, digest = sha256(${bytes}) WHERE tenant_id = 'acme' AND leaf_index = 200`,
    );
  await rewrite("bytes || '\\xc03e01'"); // A field that nobody knows: it still is the event, and says the same.
  for (const ended of [await verify(audit.url), await mirror("rewritten")]) {
    expect(ended, ended.stderr).toMatchObject({ exit: 11, stdout: "" });
  }
  expect(await readdir(folder.path("rewritten"))).not.toContain("checkpoint");
  await rewrite("substr(bytes, 1, length(bytes) - 3)");
  expect(await verify(audit.url)).toMatchObject({ exit: 0 });
});

/** A service whose export is this file. */
async function serveExport(text: string) {
  const routes = ({ rpc }: ConnectRouter) =>
    rpc(AuditService.method.exportEvents, async function* () {
      yield { data: Buffer.from(text) };
    });
  const server = createServer(connectNodeAdapter({ routes }));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // It listens on TCP.
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => new Promise<void>((closed) => void server.close(() => closed())),
  };
}

test("a service that gives a part of its log for the whole is not believed, however well that is proved", async () => {
  const [first] = appealDecided().entries;
  await deliver(audit, [first!]);
  await untilSealed(await audit.auditor());
  const part = folder.path("part.ndjson");
  const { eventId } = fromBinary(EventSchema, first!);
  await commandInProcess(["log", "proof", eventId, "--history", "--out", part, "--vkey", vkey], env);
  expect(await verify(part)).toMatchObject({ exit: 0 });
  await using liar = await serveExport(await readFile(part, "utf8"));
  const verifyAt = (url: string) => commandInProcess(["verify", "--vkey", vkey], { ...env, AUDIT_URL: url });
  expect(await verifyAt(liar.url)).toMatchObject({ exit: 3, stderr: expect.stringMatching(/has a proof/) });
  const line = { leafIndex: 0, event: encodeBase64(first!) };
  const { checkpoint } = JSON.parse((await readFile(part, "utf8")).split("\n")[1]!);
  await using short = await serveExport(`${JSON.stringify(line)}\n${JSON.stringify({ checkpoint })}\n`);
  expect(await verifyAt(short.url)).toMatchObject({ exit: 13, stderr: expect.stringMatching(/leaf 1/) });
});

test("--state holds a service to the log that it had", async () => {
  const state = folder.path("state");
  expect(await verify("--state", state)).toMatchObject({ exit: 0 });
  const kept = await readFile(state, "utf8");
  expect(kept).toMatch(/\n312\n/);
  await using superuser = await openSuperuser(audit.database.superuserUrl);
  await superuser.query(
    "CREATE TABLE put_back AS SELECT * FROM checkpoints WHERE tenant_id = 'acme' AND tree_size > 11",
  );
  await superuser.query("DELETE FROM checkpoints WHERE tenant_id = 'acme' AND tree_size > 11");
  expect(await verify("--state", state)).toMatchObject({ exit: 16, stdout: "" });
  expect(await readFile(state, "utf8")).toBe(kept);
  await superuser.query("INSERT INTO checkpoints SELECT * FROM put_back");
  expect(await verify("--state", state)).toMatchObject({ exit: 0 });
});

test("without --vkey the service's own keys are taken, which is said", async () => {
  const { exit, stderr } = await commandInProcess(["log", "mirror", folder.path("own")], env);
  expect(stderr).toMatch(/the keys are those that the service itself tells/);
  expect(exit).toBe(0);
  expect(await sizeOf("own")).toBe(312);
});

test("a folder that cannot be made is told in a line", async () => {
  await writeFile(folder.path("file"), "");
  const { exit, stderr } = await mirror("file");
  expect(stderr).toMatch(/^caseflow: EEXIST: [^\n]+\n$/);
  expect(exit).toBe(1);
});

test("a mirror process that is killed at any moment leaves a valid log, and the next one goes on", async () => {
  await deliver(audit, newCases(1_500));
  await untilSealed(await audit.auditor());
  const random = createRandom(23);
  const target = { url: "http://127.0.0.1:1", auditUrl: audit.url, token: env["CASEFLOW_TOKEN"]! };
  let killed = 0;
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const name = `killed-${attempt}`;
    await cp(folder.path("m"), folder.path(name), { recursive: true });
    const stop = new AbortController();
    const changes = watch(folder.path(name), { recursive: true, signal: stop.signal });
    const { child, ended } = startCaseflow(target, ["log", "mirror", folder.path(name), "--vkey", vkey]);
    void ended.then(() => stop.abort());
    let left = 1 + Math.floor(random() * 30);
    try {
      for await (const _change of changes) {
        left -= 1;
        if (left === 0) child.kill("SIGKILL");
      }
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    }
    if ((await ended).exit === "SIGKILL") killed += 1;
    expect([311, 1_812]).toContain(await sizeOf(name));
    expect((await mirror(name)).stdout).toMatch(/ size=1812 /);
    expect(await sizeOf(name)).toBe(1_812);
  }
  expect(killed).toBeGreaterThan(0);
}, 60_000);
