import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import { readVerifierKey } from "#libs/merkle/signed-note.ts";
import type { LogKeys } from "#services/cli/verify/read-signed.ts";
import type { Ended } from "../support/caseflow-command.ts";
import { cutStride } from "../support/crash-points.ts";
import { flip, judgeBytes } from "../support/judged.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { createRandom } from "../support/permit-file.ts";
import { readRunSettings } from "../support/run-settings.ts";
import { sealLog, type Reopened, type SealedEvent, type SealedLog } from "../support/sealed-log.ts";
import { rewrite, turnBit } from "../support/tamper-rows.ts";

expectNoLeaks();

/*
 * One bit is turned in what the audit database holds, or in a file that was taken from it, and it is turned back. CASEFLOW_RUNS=300
 * turns more of them, CASEFLOW_SEED others; of the bytes of a file an ordinary run takes some, `npm run torture` all.
 */

const { seed, runs } = readRunSettings(3);
vi.setConfig({ testTimeout: 30_000 + runs * 1_000 });
const random = createRandom(seed);
const pick = (count: number) => Math.floor(random() * count);

const stack = new AsyncDisposableStack();
let log: SealedLog;
let service: Reopened;
let keys: LogKeys;
let goingOn: readonly SealedEvent[];

beforeAll(async () => {
  log = stack.use(await sealLog());
  service = stack.use(await log.reopen());
  keys = { origin: log.vkey.split("+")[0]!, verifiers: [readVerifierKey(log.vkey)] };
  goingOn = log.events.filter(({ nextLeaf }) => nextLeaf !== undefined);
});
afterAll(() => stack.disposeAsync());

const verify = () => service.run("verify", "--state", service.path("state"));
const pickEvent = () => goingOn[pick(goingOn.length)]!;
const rowOf = ({ leafIndex }: SealedEvent) => ({ table: "events", where: `leaf_index = ${leafIndex}` });

/** Asks while the bit is turned. */
async function whileTurned(
  place: Parameters<typeof turnBit>[1],
  bit: number,
  ask: () => Promise<Ended>,
): Promise<Ended> {
  await turnBit(service.superuser, place, bit);
  const ended = await ask();
  await turnBit(service.superuser, place, bit);
  return ended;
}

const givesNothing = (event: SealedEvent, { exit, stderr }: Ended) => {
  expect(stderr).toContain(`does not give its log from leaf ${event.leafIndex} on:`);
  expect(exit).toBe(3);
};

test("a bit turned in an event's bytes or in its digest keeps the service from giving it, and the verifier names it", async () => {
  for (let run = 0; run < runs; run += 1) {
    const event = pickEvent();
    const bytes = { ...rowOf(event), column: "bytes" };
    givesNothing(event, await whileTurned(bytes, pick(event.bytes.length * 8), verify));
    givesNothing(event, await whileTurned({ ...rowOf(event), column: "digest" }, pick(256), verify));
  }
  expect(await verify()).toMatchObject({ exit: 0 });
});

test("a bit turned in an event whose digest is made to fit is found by the root, and named where its history breaks", async () => {
  const { superuser } = service;
  for (let run = 0; run < runs; run += 1) {
    const event = pickEvent();
    const bit = pick(event.bytes.length * 8);
    await rewrite(superuser, event.leafIndex, flip(event.bytes, bit));
    const { exit, stderr } = await verify();
    await rewrite(superuser, event.leafIndex, event.bytes);
    const [, leaf] = /where: +leaf (\d+)/.exec(stderr) ?? [];
    expect([event.leafIndex, event.nextLeaf], `bit ${bit}: ${stderr}`).toContain(Number(leaf));
    expect(exit).toBe(11);
  }
  expect(await verify()).toMatchObject({ exit: 0 });
});

test("a bit turned in a tile's hashes or root is found by the proof that has it", async () => {
  const prove = ({ eventId }: SealedEvent) =>
    service.run("log", "proof", eventId, "--out", service.path("proof"));
  for (let run = 0; run < runs; run += 1) {
    const leafIndex = pick(256);
    const neighbour = log.events[leafIndex ^ 1]!; // Whose proof begins with this leaf's hash.
    const hashes = { table: "tiles", column: "hashes", where: "level = 0 AND tile_index = 0" };
    const bit = leafIndex * 256 + pick(256);
    const proved = await whileTurned(hashes, bit, () => prove(neighbour));
    expect(proved, proved.stderr).toMatchObject({
      exit: 12,
      stderr: expect.stringContaining(`leaf ${neighbour.leafIndex} `),
    });
    const behind = log.events[256 + pick(log.events.length - 256)]!;
    const root = { table: "tiles", column: "root", where: "level = 0 AND tile_index = 0" };
    expect(await whileTurned(root, pick(256), () => prove(behind))).toMatchObject({ exit: 12 });
  }
  expect(await prove(log.events[0]!)).toMatchObject({ exit: 0 });
});

test("a bit turned in the stored checkpoint is found before anything else", async () => {
  const { superuser } = service;
  const note = Buffer.from(await service.lastNote());
  const store = (text: string) =>
    superuser.query("UPDATE checkpoints SET note = $1 WHERE tree_size = $2", [text, log.events.length]);
  for (let run = 0; run < runs;) {
    const text = Buffer.from(flip(note, pick(note.length * 8))).toString("utf8");
    if (text.includes("\ufffd") || text.includes("\0")) continue; // The database takes no such text.
    run += 1;
    await store(text);
    const { exit, stderr } = await verify();
    expect([3, 10], `${JSON.stringify(text)}: ${stderr}`).toContain(exit);
  }
  await store(note.toString("utf8"));
  expect(await verify()).toMatchObject({ exit: 0 });
});

test("a bit turned in the stored verifier key makes nobody trust another, and nobody who was told the key by it", async () => {
  const { superuser } = service;
  const vkey = Buffer.from(log.vkey);
  for (let run = 0; run < runs; run += 1) {
    const text = Buffer.from(flip(vkey, pick(vkey.length) * 8 + pick(5))).toString("utf8"); // It stays ASCII.
    await superuser.query("UPDATE verifier_keys SET vkey = $1", [text]);
    const trusting = await service.runAsIs("log", "mirror", service.path(`trusting-${run}`));
    expect(trusting.exit, `${text}: ${trusting.stderr}`).not.toBe(0);
    expect(await verify()).toMatchObject({ exit: 0 }); // The key was known from elsewhere.
  }
  await superuser.query("UPDATE verifier_keys SET vkey = $1", [vkey.toString("utf8")]);
});

test("a bit turned in any byte of an event is found in an export", async () => {
  const [event] = log.events.toSorted((a, b) => a.bytes.length - b.bytes.length);
  const { bytes } = event!;
  const whole = await readFile(log.exportFile, "utf8");
  const line = encodeBase64(bytes);
  expect(whole.split(line)).toHaveLength(2);
  for (let byte = 0; byte < bytes.length; byte += cutStride()) {
    const changed = whole.replace(line, encodeBase64(flip(bytes, byte * 8 + pick(8))));
    expect(await judgeBytes(changed, keys), `byte ${byte}`).toMatchObject({ kind: "root" });
  }
  expect(await judgeBytes(whole, keys)).toBeUndefined();
});

test("a bit turned in any byte of a proof is found", async () => {
  const whole = await readFile(log.proofFile);
  for (let byte = 0; byte < whole.length; byte += cutStride()) {
    const bit = byte * 8 + pick(8);
    expect(await judgeBytes(flip(whole, bit), keys), `bit ${bit}`).toBeDefined();
  }
  expect(await judgeBytes(whole, keys)).toBeUndefined();
});
