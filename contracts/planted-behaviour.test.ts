import { clearField, fromBinary, toBinary, type DescMessage, type Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Contract, EventExpectation, Interaction } from "#libs/contracts/contract.ts";
import { readContracts } from "#libs/contracts/read-contracts.ts";
import { replayByConnect } from "#libs/contracts/replay-by-connect.ts";
import { type Provider, verifyEvent, verifyInteraction } from "#libs/contracts/verify.ts";
import { openView } from "#libs/contracts/view.ts";
import { CaseSchema } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

import { contractsFolder } from "./product.ts";
import { startCaseProvider } from "./provider-states/case-provider.ts";
import { type Alteration, startAlteringProxy } from "./support/altering-proxy.ts";

/* The schema stays as it is here; it is what the service does that changes. */

const contracts = (await readContracts(contractsFolder)).filter(({ provider }) => provider === "case");
let real: Provider & AsyncDisposable;
beforeAll(async () => {
  real = await startCaseProvider();
});
afterAll(() => real[Symbol.asyncDispose]());

type Fits<T> = (expectation: T) => boolean;

/** What contracts say of the case service with a change before it, as `consumer: what is wrong`. */
async function verifyAltered(alteration: Alteration, fits: Fits<Interaction>): Promise<readonly string[]> {
  await using proxy = await startAlteringProxy(real.url, CaseService, alteration);
  const altered = { ...real, url: proxy.url };
  return await collect(contracts, ({ interactions }, view) =>
    interactions
      .filter(({ call }) => call.method.startsWith(CaseService.typeName))
      .filter(fits)
      .map((interaction) => verifyInteraction(view, interaction, altered, replayByConnect)),
  );
}

async function verifyAlteredEvents(
  alter: (bytes: Uint8Array) => Uint8Array,
  fits: Fits<EventExpectation> = () => true,
): Promise<readonly string[]> {
  const altered: Provider = {
    ...real,
    emitted: async (tenant) => (await real.emitted(tenant)).map(alter),
  };
  return collect(contracts, ({ events }, view) =>
    events.filter(fits).map((event) => verifyEvent(view, event, altered)),
  );
}

async function collect(
  from: readonly Contract[],
  verify: (contract: Contract, view: ReturnType<typeof openView>) => Promise<readonly string[]>[],
): Promise<readonly string[]> {
  const told: string[] = [];
  for (const contract of from) {
    for (const faults of await Promise.all(verify(contract, openView(contract)))) {
      told.push(...faults.map((fault) => `${contract.consumer}: ${fault}`));
    }
  }
  return [...new Set(told)].toSorted();
}

/** Empties a field of every message of a type inside of `message`, itself included. */
function empty(message: Message, schema: DescMessage, desc: DescMessage, name: string): void {
  const reflected = reflect(schema, message);
  if (desc === schema)
    clearField(
      message,
      desc.fields.find((field) => field.name === name)!,
    );
  for (const field of reflected.fields) {
    if (field.fieldKind === "message" && reflected.isSet(field)) {
      empty(reflected.get(field).message, field.message, desc, name);
    }
  }
}

const emptied =
  (desc: DescMessage, ...names: readonly string[]): NonNullable<Alteration["answer"]> =>
  ({ output }, message) => {
    for (const name of names) empty(message, output, desc, name);
  };

test("no longer filling a field that is read fails with the consumer and the field", async () => {
  const told = await verifyAltered(
    { answer: emptied(CaseSchema, "decided_at") },
    ({ state }) => state.parameters?.["state"] === "approved",
  );
  expect(told).toEqual([
    "intake-portal: caseflow.cases.v1.GetCaseResponse case.decidedAt: expected any value, got nothing",
  ]);
});

test("filling a field that is to be absent fails with the consumer and the field", async () => {
  const told = await verifyAltered(
    {
      answer(_, message) {
        if ("case" in message && typeof message.case === "object")
          Object.assign(message.case!, { approverIds: ["ada"] });
      },
    },
    ({ name }) => name === "a rejected case names who rejected it",
  );
  expect(told).toEqual([
    'cli: caseflow.cases.v1.GetCaseResponse case.approverIds: expected nothing, got ["ada"]',
  ]);
});

test("renaming a reason fails with every consumer that goes by it", async () => {
  const told = await verifyAltered(
    {
      refusal(error) {
        const info = { ...error.findDetails(ErrorInfoSchema)[0]!, reason: "CASE_MISSING" };
        return new ConnectError(error.rawMessage, error.code, undefined, [
          { desc: ErrorInfoSchema, value: info },
        ]);
      },
    },
    ({ answer }) => "reason" in answer && answer.reason === "CASE_NOT_FOUND",
  );
  const fault = 'google.rpc.ErrorInfo reason: expected "CASE_NOT_FOUND", got "CASE_MISSING"';
  expect(told).toEqual(
    ["cli", "harbour-register", "intake-portal"].map((consumer) => `${consumer}: ${fault}`),
  );
});

test("changing a code fails with every consumer that expects the other one", async () => {
  const told = await verifyAltered(
    {
      refusal(error) {
        const changed = new ConnectError(error.rawMessage, Code.Aborted);
        changed.details = error.details;
        return changed;
      },
    },
    ({ answer }) => answer.code === "FAILED_PRECONDITION",
  );
  expect(told).toEqual(["intake-portal: code: expected FAILED_PRECONDITION, got ABORTED"]);
});

test("requiring more of a request fails with the consumer and what the service says of the field", async () => {
  const refused = new ConnectError("no", Code.InvalidArgument, undefined, [
    { desc: ErrorInfoSchema, value: { domain: "caseflow", reason: "INVALID_REQUEST", metadata: {} } },
  ]);
  const told = await verifyAltered(
    {
      answer() {
        throw refused;
      },
    },
    ({ name }) => name === "an application without a title opens a case all the same",
  );
  expect(told).toEqual([
    "intake-portal: code: expected OK, got INVALID_ARGUMENT",
    'intake-portal: it said {"reason":"INVALID_REQUEST","domain":"caseflow"}',
  ]);
});

test("no longer telling that an answer is a replay fails with the consumer and the header", async () => {
  await using proxy = await startAlteringProxy(real.url, CaseService, {});
  const [portal] = contracts.filter(({ consumer }) => consumer === "intake-portal");
  const replay = portal!.interactions.find(({ name }) => name.startsWith("a request to open a case"))!;
  const forgetful = { ...real, url: proxy.url };
  expect(await verifyInteraction(openView(portal!), replay, forgetful, replayByConnect)).toEqual([]);
  const faults = await verifyInteraction(openView(portal!), replay, forgetful, async (request) => ({
    ...(await replayByConnect(request)),
    metadata: new Headers(),
  }));
  expect(faults).toEqual(['header caseflow-replayed: expected "true", got nothing']);
});

test.each([
  ["occurred_at", ["audit", "intake-portal"], "occurredAt: expected any value, got nothing"],
  ["previous_digest", ["audit"], "previousDigest: expected 32 bytes, got nothing"],
] as const)(
  "dropping %s of an event fails with the consumer and the field",
  async (name, consumers, fault) => {
    const told = await verifyAlteredEvents((bytes) => {
      const event = fromBinary(EventSchema, bytes);
      empty(event, EventSchema, EventSchema, name);
      return toBinary(EventSchema, event);
    });
    expect(told).toEqual(consumers.map((consumer) => `${consumer}: caseflow.event.v1.Event ${fault}`));
  },
);

test("renaming the type of an event fails with the consumer and the event", async () => {
  const told = await verifyAlteredEvents(
    (bytes) => {
      const event = fromBinary(EventSchema, bytes);
      return toBinary(EventSchema, { ...event, type: event.type.replace("approved", "granted") });
    },
    ({ which }) => which["type"] === "caseflow.case.approved",
  );
  expect(told).toContain(
    'intake-portal: caseflow.event.v1.Event type: 0 of the 5 emitted have "caseflow.case.approved"',
  );
});

/** A field that the schema of today does not have: number 1007, three bytes. */
const unknownField = { no: 1_007, wireType: 2, data: Buffer.from([3, 0x61, 0x62, 0x63]) };

test("new fields, and an end to fields that nobody reads, pass every contract", async () => {
  const told = await verifyAltered(
    {
      answer(method, message) {
        emptied(CaseSchema, "updated_at", "created_at", "on_hold", "review_started_by_id")(method, message);
        message.$unknown = [unknownField];
        if ("case" in message && typeof message.case === "object") {
          Object.assign(message.case!, { $unknown: [unknownField] });
        }
      },
    },
    () => true,
  );
  expect(told).toEqual([]);
  const toldOfEvents = await verifyAlteredEvents((bytes) => {
    const event = fromBinary(EventSchema, bytes);
    empty(event, EventSchema, EventSchema, "subject_type");
    event.$unknown = [unknownField];
    return toBinary(EventSchema, event);
  });
  expect(toldOfEvents).toEqual([]);
});
