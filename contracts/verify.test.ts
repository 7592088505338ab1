import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";
import type { Contract } from "#libs/contracts/contract.ts";
import { readContracts } from "#libs/contracts/read-contracts.ts";
import { replayByConnect } from "#libs/contracts/replay-by-connect.ts";
import { replayByGrpcJs } from "#libs/contracts/replay-by-grpc-js.ts";
import { type Provider, verifyEvent, verifyInteraction } from "#libs/contracts/verify.ts";
import { openView } from "#libs/contracts/view.ts";

import type { VerifiedRow } from "./can-deploy.ts";
import { contractsFolder } from "./product.ts";
import { startAuditProvider } from "./provider-states/audit-provider.ts";
import { startCaseProvider } from "./provider-states/case-provider.ts";
import { listReleases, readRelease } from "./read-versions.ts";
import { toTable } from "./support/table.ts";

/** Contracts of the working tree, and of the last release what is put otherwise by now. */
async function readLivingContracts(): Promise<readonly Contract[]> {
  const present = await readContracts(contractsFolder);
  const known = new Set(
    present.flatMap(({ interactions, events }) => [...interactions, ...events].map(toText)),
  );
  const isNews = (expectation: object): boolean => !known.has(toText(expectation));
  const release = await readRelease((await listReleases()).at(-1)!); // There is one.
  const past = release.contracts.map((contract) => ({
    ...contract,
    consumer: `${contract.consumer}@${release.version}`,
    interactions: contract.interactions.filter(isNews),
    events: contract.events.filter(isNews),
  }));
  return [...present, ...past];
}

function toText(expectation: object): string {
  return JSON.stringify(expectation);
}

/** Each expectation by each way. */
const verifications = (await readLivingContracts()).flatMap((contract) => {
  const { consumer, provider, interactions, events } = contract;
  const view = openView(contract);
  const replays = { "connect-node": replayByConnect, "grpc-js": replayByGrpcJs };
  return [
    ...interactions.flatMap((interaction) =>
      Object.entries(replays).map(([way, replay]) => ({
        consumer,
        provider,
        way,
        expectation: interaction,
        verify: (running: Provider) => verifyInteraction(view, interaction, running, replay),
      })),
    ),
    ...events.map((event) => ({
      consumer,
      provider,
      way: "event",
      expectation: event,
      verify: (running: Provider) => verifyEvent(view, event, running),
    })),
  ];
});

const starts: Readonly<Record<string, () => Promise<Provider & AsyncDisposable>>> = {
  case: startCaseProvider,
  audit: startAuditProvider,
};
const running = new Map<string, Provider>();
const opened = new AsyncDisposableStack();
beforeAll(async () => {
  for (const [name, start] of Object.entries(starts)) running.set(name, opened.use(await start()));
});
afterAll(() => opened.disposeAsync());

/** By consumer, provider, name and way. */
const results = new Map<string, readonly string[]>();
const keyOf = ({ consumer, provider, expectation, way }: (typeof verifications)[number]): string =>
  JSON.stringify([consumer, provider, expectation.name, way]);

test.each(verifications)(
  "$provider keeps to what $consumer expects by $way: $expectation.name",
  async (verification) => {
    const { consumer, provider } = verification;
    const service = running.get(provider);
    if (service === undefined) throw new Error(`nobody knows how ${provider} is started`);
    const faults = await verification.verify(service).catch((error: unknown) => [String(error)]);
    results.set(keyOf(verification), faults);
    expect(faults, `${consumer} would be hurt`).toEqual([]);
  },
);

test("every expectation was verified, and the table tells how", () => {
  const rows = verifications.map((verification): VerifiedRow => {
    const { consumer, provider, way, expectation } = verification;
    const faults = results.get(keyOf(verification)) ?? ["never exercised"];
    return { consumer, provider, way, expectation: expectation.name, faults };
  });
  const head = ["consumer", "provider", "by", "expectation", "result"];
  const body = rows.map(({ consumer, provider, way, expectation, faults }) => [
    ...[consumer, provider, way, expectation],
    faults.length === 0 ? "ok" : faults.join("; "),
  ]);
  process.stdout.write(`${toTable([head, ...body])}\n`);
  const report = process.env["CONTRACTS_REPORT"];
  if (report !== undefined) writeFileSync(report, JSON.stringify(rows));
  expect(rows.filter(({ faults }) => faults.length > 0)).toEqual([]);
});

test.each(await readContracts(contractsFolder))(
  "the contract of $consumer with $provider has its test beside it, which keeps it up to date",
  ({ consumer, provider }) => {
    expect(existsSync(join(contractsFolder, consumer, `${provider}.test.ts`))).toBe(true);
  },
);

test.each(Object.keys(starts))("each provider state of %s is named by a contract", (provider) => {
  const named = verifications
    .filter((one) => one.provider === provider)
    .map((one) => one.expectation.state.name);
  const states = Object.keys(running.get(provider)?.states ?? {});
  expect(states.filter((state) => !named.includes(state))).toEqual([]);
});
