import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openNote, readVerifierKey } from "#libs/merkle/signed-note.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "./support/audit-service.ts";
import { openFolder, startCaseflow, type Folder } from "./support/caseflow-command.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { makeChain, makeEvent, type EventChanges } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { makeSigning, untilSealed, type Signing } from "./support/signing.ts";
import { waitUntil } from "./support/wait-until.ts";

expectNoLeaks();

/* `caseflow tail`, `log export` and `accesses`: what an investigator uses. */

const stack = new AsyncDisposableStack();
let signing: Signing;
let audit: AuditServiceFixture;
let folder: Folder;

beforeAll(async () => {
  signing = stack.use(await makeSigning());
  audit = stack.use(await startAuditService({ signing }));
  folder = stack.use(await openFolder());
});
afterAll(() => stack.disposeAsync());

const tokenOf = (tenant: string, expiresInSeconds = 600) =>
  audit.issuer.token({ tenant, sub: "ines", roles: ["auditor"], expiresInSeconds });

/** Runs a command in this process, as an auditor of the tenant. */
async function run(tenant: string, ...args: string[]) {
  return commandInProcess(args, { AUDIT_URL: audit.url, CASEFLOW_TOKEN: await tokenOf(tenant) });
}

async function append(to: AuditServiceFixture, tenant: string, changes: EventChanges[]): Promise<void> {
  const events = changes.map((change) => makeEvent({ tenantId: tenant, ...change }).bytes);
  await (await to.source([testSource])).recordEvents({ events });
}

test("a tail shows each event once, in order, though the service is stopped and started in between, and ends with 0", async () => {
  const { issuer, database } = audit;
  const tenant = "followed";
  let service = await startAuditService({ issuer, database });
  const port = Number(new URL(service.url).port);
  const target = { url: "http://127.0.0.1:1", auditUrl: service.url, token: await tokenOf(tenant) };
  const tails = [
    startCaseflow(target, ["tail", "--json"]),
    startCaseflow(target, ["tail", "--type", "test.thing.opened", "--recorded-from", "2020-01-01"]),
  ];
  const shown = tails.map(() => "");
  tails.forEach(({ child }, at) =>
    child.stdout!.on("data", (chunk: Buffer) => (shown[at] += chunk.toString())),
  );
  const leaves = () =>
    shown[0]!
      .split("\n")
      .slice(0, -1)
      .map((line) => Number(JSON.parse(line).leafIndex ?? 0));
  const opened = { type: "test.thing.opened", reason: "because\nof   it", toState: "open" };

  // Only what comes after its beginning is shown, and that nobody is told of but by what is shown.
  await waitUntil(async () => {
    await append(service, tenant, [{}, opened]);
    return shown.every((text) => text.includes("\n"));
  });
  await service[Symbol.asyncDispose]();
  await append(audit, tenant, [{}, {}]);
  service = await startAuditService({ issuer, database, config: { port } });
  await append(service, tenant, [{}, opened]);
  const { length } = (await (await audit.auditor(tenant)).listEvents({ pageSize: 500 })).events;
  await waitUntil(async () => leaves().includes(length - 1) && shown[1]!.includes(`\n${length - 1} `));
  for (const { child } of tails) child.kill("SIGINT");
  const [all, filtered] = await Promise.all(tails.map(({ ended }) => ended));
  await service[Symbol.asyncDispose]();

  expect([all!.exit, filtered!.exit]).toEqual([0, 0]);
  const first = leaves()[0]!;
  expect(leaves()).toEqual(Array.from({ length: length - first }, (_, at) => first + at));
  expect(all!.stderr).toMatch(/going on in a moment/);
  const lines = filtered!.stdout.trimEnd().split("\n");
  for (const line of lines) {
    expect(line).toMatch(
      /^\d+ +2023-\S+ {2}test\.thing\.opened +[0-9a-f-]{36} 1 +ada +> open +because of it$/,
    );
  }
  const told = lines.map((line) => Number(line.split(" ")[0]));
  expect(told).toEqual([...new Set(told)].toSorted((one, other) => one - other));
});

test("an exported log is what caseflow verify takes, with its manifest beside it; a byte changed in it is found", async () => {
  const tenant = "exported";
  const chain = makeChain(40, { tenantId: tenant });
  await (await audit.source()).recordEvents({ events: chain.map(({ bytes }) => bytes) });
  await untilSealed(await audit.auditor(tenant));
  const path = folder.path("log.ndjson");
  const exported = await run(tenant, "log", "export", "--out", path, "--json");
  expect(exported.exit, exported.stderr).toBe(0);
  const written = await readFile(path);
  const sha256 = createHash("sha256").update(written);
  expect(JSON.parse(exported.stdout)).toEqual({
    ...{ bytes: written.length, sha256: sha256.copy().digest("hex") },
    ...{ file: path, manifest: `${path}.manifest` },
  });
  const vkeys = await signing.vkeys(tenant);
  const note = await readFile(`${path}.manifest`, "utf8");
  const { text } = openNote(note, vkeys.map(readVerifierKey));
  expect(text).toContain(`\nevent-count: 40\nsha256: ${sha256.digest("base64")}\ntree-size: 40\n`);

  const verify = () => commandInProcess(["verify", path, "--vkey", vkeys[0]!]);
  const verified = await verify();
  expect(verified.exit, verified.stderr).toBe(0);
  const damaged = written.toString("utf8").replace(/"event":"(.{40})./, '"event":"$1_');
  await writeFile(path, damaged.replace("_", damaged.includes("A_") ? "B" : "A"));
  expect((await verify()).exit).not.toBe(0);
});

test("an export in another format and with a filter takes the place of one before, manifest and all", async () => {
  const tenant = "replaced";
  await append(audit, tenant, [{}, { subject: "=1+1" }]);
  await untilSealed(await audit.auditor(tenant));
  const path = folder.path("log.csv");
  for (const subject of ["nobody", "=1+1"]) {
    const { exit, stdout, stderr } = await run(
      ...[tenant, "log", "export", "--format", "csv", "--subject", subject, "--out", path],
    );
    expect(exit, stderr).toBe(0);
    expect(stdout).toMatch(/^bytes=\d+ sha256=[0-9a-f]{64}\n$/);
  }
  expect((await readFile(path, "utf8")).split("\r\n")).toHaveLength(3);
  expect(await readFile(path, "utf8")).toContain(",'=1+1,");
  expect(await readFile(`${path}.manifest`, "utf8")).toContain(`format: csv\nfilter: {"subject":"=1+1"}\n`);
});

test("the access log is a table, newest first, of what the filter lets through", async () => {
  const tenant = "looked-at";
  await append(audit, tenant, [{}]);
  const auditor = await audit.auditor(tenant);
  await auditor.listEvents({ filter: { actorId: "ada" } });
  await run(tenant, "accesses");
  const { exit, stdout } = await run(tenant, "accesses");
  expect(exit).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^at +principal +method +outcome +given +leaves +filter$/);
  expect(lines[1]).toMatch(/^20\S+Z +ines +ListAccesses +OK +1 +\{\}$/);
  expect(lines[2]).toMatch(/^20\S+Z +auditor +ListEvents +OK +1 +0 +\{"actorId":"ada"\}$/);
  expect(lines).toHaveLength(3);
  const column = (line = "") => line.search(/OK|outcome/);
  expect(lines.map(column)).toEqual(lines.map(() => column(lines[0])));
  const json = await run(tenant, "accesses", "--method", "ListEvents", "--from", "2020-01-01", "--json");
  expect(JSON.parse(json.stdout)).toMatchObject([{ principal: { id: "auditor" }, givenCount: "1" }]);
  const limited = await run(tenant, "accesses", "--principal", "ines", "--limit", "2", "--json");
  expect(JSON.parse(limited.stdout)).toHaveLength(2);
});

test.each([
  [["tail", "--recorded-from", "yesterday"], "It is a time"],
  [["log", "export", "--format", "xml"], "It is one of ndjson, csv, cloudevents"],
  [["accesses", "--method", "GetCase"], "It is one of GetEvent"],
  [["accesses", "--limit", "0"], "It is a number"],
  [["log"], "export"],
])("%j is not understood: exit 2, and a word on why", async (args, why) => {
  const written: string[] = [];
  const { write } = process.stdout;
  process.stdout.write = (text) => written.push(String(text)) > 0;
  const { exit, stderr } = await commandInProcess(args).finally(() => (process.stdout.write = write));
  expect(exit).toBe(2);
  expect(stderr + written.join("")).toContain(why);
});

test.each([[["tail"]], [["log", "export", "--out", "never"]], [["accesses"]]])(
  "with a token that has expired %j says so, ends with 1, and leaves no file",
  async (args) => {
    const env = { AUDIT_URL: audit.url, CASEFLOW_TOKEN: await tokenOf("anybody", -60) };
    const { exit, stderr } = await commandInProcess(args, env);
    expect(exit).toBe(1);
    expect(stderr).toContain("expired");
    await expect(readFile("never")).rejects.toThrow("ENOENT");
  },
);
