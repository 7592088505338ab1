import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAuditService } from "./support/audit-service.ts";
import { type Folder, openFolder } from "./support/caseflow-command.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { cloneAuditDatabase, type AuditDatabase } from "./support/databases.ts";
import { commandEnvOf, deliver, newCases } from "./support/delivered-log.ts";
import { flip } from "./support/judged.ts";
import { makeSigning, untilSealed } from "./support/signing.ts";

/* An audit database that was put back to an earlier time is given from a mirror what it lost. */

let folder: Folder;
beforeAll(async () => {
  folder = await openFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

/** The audit service on a copy of the database from before the last of the mirror's events, signed as those were. */
async function startRestored(name: string, lost = newCases(40)) {
  await using opened = new AsyncDisposableStack();
  const ownSigning = opened.use(await makeSigning());
  const database = opened.use(await cloneAuditDatabase());
  let backup: AuditDatabase;
  {
    await using service = await startAuditService({ database, signing: ownSigning });
    await deliver(service, newCases(300));
    await untilSealed(await service.auditor());
  }
  backup = opened.use(await cloneAuditDatabase(database.name));
  const [ownKey = ""] = await ownSigning.vkeys("acme");
  {
    await using service = await startAuditService({ database, signing: ownSigning });
    await deliver(service, lost);
    await untilSealed(await service.auditor());
    const args = ["log", "mirror", folder.path(name), "--vkey", ownKey];
    expect(await commandInProcess(args, await commandEnvOf(service))).toMatchObject({ exit: 0 });
  }
  const service = opened.use(await startAuditService({ database: backup, signing: ownSigning }));
  const running = opened.move();
  return {
    service,
    restore: async (roles = ["auditor", "event_source"]) =>
      commandInProcess(
        ["log", "restore", folder.path(name), "--vkey", ownKey],
        await commandEnvOf(service, roles),
      ),
    mirror: async () =>
      commandInProcess(["log", "mirror", folder.path(name), "--vkey", ownKey], await commandEnvOf(service)),
    eventCount: async () => (await (await service.auditor()).listEvents({ pageSize: 500 })).events.length,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

test("a database put back to an earlier time is given back what was signed, and is signed again", async () => {
  await using restored = await startRestored("lost");
  expect(await restored.mirror()).toMatchObject({
    exit: 16,
    stderr: expect.stringMatching(/shorter than when/),
  });
  const once = await restored.restore();
  expect(once, once.stderr).toMatchObject({ exit: 0, stdout: "sent=40 size=340\n" });
  expect(await restored.restore()).toMatchObject({ exit: 0, stdout: "sent=0 size=340\n" });
  await deliver(restored.service, newCases(5));
  await untilSealed(await restored.service.auditor());
  expect(await restored.mirror()).toMatchObject({
    exit: 0,
    stdout: expect.stringMatching(/^added=5 size=345 /),
  });
});

test("a database that took other events since it was put back is given nothing", async () => {
  await using restored = await startRestored("forked");
  await deliver(restored.service, newCases(3));
  const { exit, stderr } = await restored.restore();
  expect(stderr).toMatch(/other events than the mirror's[^]*expected: 300 events\n {2}found: {4}303 events/);
  expect(exit).toBe(16);
  expect(await restored.eventCount()).toBe(303);
});

test("events that are together too large for one request are given back in several", async () => {
  const padding = Buffer.alloc(50_000, "x");
  const unknownField = Buffer.from([0xc2, 0x3e, 0xd0, 0x86, 0x03]); // Number 1000, 50,000 bytes long.
  const large = newCases(100).map((event) => Buffer.concat([event, unknownField, padding]));
  await using restored = await startRestored("large", large);
  const ended = await restored.restore();
  expect(ended, ended.stderr).toMatchObject({ exit: 0, stdout: "sent=100 size=400\n" });
});

test("a mirror in which an event was changed is given to nobody", async () => {
  await using restored = await startRestored("changed");
  const path = folder.path("changed/tile/entries/001.p/84");
  const entries = await readFile(path);
  await writeFile(path, flip(entries, entries.length * 8 - 1));
  expect(await restored.restore()).toMatchObject({ exit: 11, stdout: "" });
  expect(await restored.eventCount()).toBe(300);
});

test("whoever may not deliver restores nothing, and is told why", async () => {
  await using restored = await startRestored("powerless");
  expect(await restored.restore(["auditor"])).toMatchObject({
    exit: 1,
    stderr: expect.stringMatching(/FORBIDDEN/),
  });
});
