import { afterAll, beforeAll, expect, test } from "vitest";
import type { Answer } from "../support/attack-answer.ts";
import { createAttacker } from "../support/attack-call.ts";
import { isMandatory, makeRequest } from "../support/attack-request.ts";
import { tenantDigests } from "../support/attack-rows.ts";
import { startTenants, type Tenants } from "../support/attack-tenants.ts";
import { formOf, nowhere, shapeOf } from "../support/attack-twin.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { rowDigests } from "../support/row-digests.ts";
import {
  canHoldId,
  walkFields,
  walkMethods,
  wantsUuid,
  type WalkedField,
  type WalkedMethod,
} from "../support/schema-walk.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
const attacker = stack.use(createAttacker());
let tenants: Tenants;

beforeAll(async () => {
  tenants = stack.use(await startTenants());
});
afterAll(() => stack.disposeAsync());

const methods = (await walkMethods()).map((walked) => ({ name: walked.name, walked }));

/** One field of a request, with the name of something of the victim's in it. */
interface Probe extends WalkedField {
  readonly what: string;
  readonly value: string | number;
}

/** Every field that can hold an id, with everything that its rules let through. */
function probesOf(walked: WalkedMethod): readonly Probe[] {
  const fields = walkFields(walked.method.input).filter((field) => canHoldId(walked, field));
  return fields.flatMap((field) =>
    Object.entries(tenants.known)
      .map(([what, value]) => ({ ...field, what, value }))
      .filter((probe) => request(walked, probe, probe.value) !== undefined),
  );
}

function request(walked: WalkedMethod, { path }: Probe, value: string | number) {
  try {
    return makeRequest(walked, { [path]: value });
  } catch {
    return undefined; // Text in a number's place.
  }
}

async function ask(
  walked: WalkedMethod,
  tenant: string,
  probe: Probe,
  value: string | number,
): Promise<Answer> {
  const message = request(walked, probe, value);
  if (message === undefined)
    throw new Error(`${walked.name}: ${probe.path} takes ${probe.value} but not ${value}`);
  const token = await tenants.token(walked.roles[0] ?? "", walked.tenantFromMessage ? undefined : tenant);
  return attacker.call(
    tenants[walked.server === "case" ? "cases" : "audit"].url,
    walked.method,
    message,
    token,
  );
}

async function storedRows() {
  const urls = [tenants.cases.database.superuserUrl, tenants.audit.database.superuserUrl];
  return {
    all: await Promise.all(urls.map(rowDigests)),
    ofVictim: await Promise.all(urls.map((url) => tenantDigests(url, tenants.victim))),
  };
}

test.for(methods)("$name tells another tenant nothing by any id", async ({ walked }, { annotate }) => {
  await tenants.settled();
  const before = await storedRows();
  const outcomes = await Promise.all(probesOf(walked).map((probe) => attack(walked, probe)));
  const after = await storedRows();
  expect(after.ofVictim).toEqual(before.ofVictim);
  if (!outcomes.includes("ok")) expect(after.all.map(butAccesses)).toEqual(before.all.map(butAccesses));
  await annotate([...new Set(outcomes)].join(", ") || "no field can hold an id");
});

/** Who looks for an event in vain is in the own tenant's access log; the victim's is compared above, with all that is the victim's. */
function butAccesses(digests: Record<string, string>) {
  const { "public.access_log": _, ...others } = digests;
  return others;
}

/** How a field's names of nothing are answered, by method, field and form of the name. */
const twins = new Map<string, Promise<unknown>>();

/** Who writes has nothing yet: what one probe did, or a request id that it used up, would say so in the next. */
async function attack(walked: WalkedMethod, probe: Probe): Promise<string> {
  const attackingTenant = () => (walked.reads ? tenants.attacker : tenants.anotherAttacker());
  const told = `${probe.path} = ${probe.what}`;
  const answer = await ask(walked, attackingTenant(), probe, probe.value);
  expect(tenants.leaks(answer.raw, probe.value), told).toEqual([]);
  expect(answer.outcome, told).toMatch(expectedOutcome(walked, probe));
  if (walked.reads) expect(thingsIn(answer), told).toEqual([]);
  const key = [walked.name, probe.path, formOf(probe.value)].join();
  const twin = nowhere(probe.value);
  const shape =
    twins.get(key) ?? ask(walked, attackingTenant(), probe, twin).then((other) => shapeOf(other, twin));
  twins.set(key, shape);
  expect(shapeOf(answer, probe.value), told).toEqual(await shape);
  return answer.outcome;
}

/** What is not built yet says so; from the day it is built, the rest holds. Whoever names one thing is told that it is not there. */
function expectedOutcome(walked: WalkedMethod, probe: Probe): RegExp {
  const refused = String.raw`unimplemented .*|not_found [A-Z]+_NOT_FOUND`;
  if (namesOne(walked, probe)) return new RegExp(`^(${refused})$`);
  const streams = walked.method.methodKind !== "unary" ? "|deadline_exceeded .*" : "";
  // A size of a log is no name of anything: the caller's own log has it, or not.
  const size = probe.path.endsWith("_size") ? "|invalid_argument INVALID_REQUEST" : "";
  return new RegExp(`^(ok|${refused}|invalid_argument PAGE_TOKEN_INVALID${streams}${size})$`);
}

/** Whether the field names the one thing that the request is about. Of a list, what is not there is passed over. */
function namesOne(walked: WalkedMethod, { path, field }: Probe): boolean {
  if (field.fieldKind === "list") return false;
  return wantsUuid(field) && !walked.tenantFromMessage && path !== "request_id" && isMandatory(walked, path);
}

/** The items of every list in the answer. */
function thingsIn({ messages }: Answer): readonly unknown[] {
  const things: unknown[] = [];
  JSON.stringify(messages, (_, value: unknown) => {
    if (Array.isArray(value) && value !== messages) things.push(...value);
    return value;
  });
  return things;
}

test.for(methods)("$name tells by the same ids to whom they belong", async ({ walked }, { annotate }) => {
  const inert = new Set<string>();
  for (const probes of Map.groupBy(
    probesOf(walked).filter((probe) => isName(walked, probe)),
    ({ path }) => path,
  )) {
    const [path, [first, ...others]] = probes;
    if (first === undefined) continue;
    const twin = nowhere(first.value);
    const nothing = await ask(walked, tenants.victim, first, twin);
    if (nothing.outcome.startsWith("unimplemented")) {
      await annotate("not built yet");
      return;
    }
    inert.add(path);
    for (const probe of [first, ...others]) {
      const answer = await ask(walked, tenants.victim, probe, probe.value);
      if (JSON.stringify(shapeOf(answer, probe.value)) === JSON.stringify(shapeOf(nothing, twin))) continue;
      inert.delete(path);
      break;
    }
  }
  expect([...inert]).toEqual([]);
});

/**
 * Page tokens are tried by themselves; who may name any tenant owns none; and a stream that can be resumed picks from what
 * is to come.
 */
function isName({ method, reads, tenantFromMessage }: WalkedMethod, { path, field }: Probe): boolean {
  const isOfFuture = method.input.fields.some(({ name }) => name === "resume_token");
  return !tenantFromMessage && !isOfFuture && (wantsUuid(field) || (reads && !path.endsWith("_token")));
}
