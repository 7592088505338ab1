import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { fillGrid, type GridCell, type Version } from "#libs/contracts/version-grid.ts";

import { next, partOf, reasonEnums, root } from "./product.ts";
import { readVersions } from "./read-versions.ts";

export interface Deployment {
  readonly can: boolean;
  /** Of a yes, whom it was judged with; of a no, whom and what it would hurt. */
  readonly reasons: readonly string[];
}

/** One line of the table of verification, as `verify.test.ts` leaves it for others. */
export interface VerifiedRow {
  readonly consumer: string;
  readonly provider: string;
  readonly way: string;
  readonly expectation: string;
  readonly faults: readonly string[];
}

/** There is no such service, or no such version. */
export class UnknownDeployment extends Error {
  override readonly name = "UnknownDeployment";
}

const verifyTimeoutMs = 300_000;

/** Does what is running in the working tree keep its contracts? Tells what it does not keep of those that concern somebody. */
export type VerifyNext = (concerns: (row: VerifiedRow) => boolean) => Promise<readonly string[]>;

/** Judges a version of a service by the contracts on disk, and by running the working tree. Throws `UnknownDeployment`. */
export async function canDeploy(service: string, version: string): Promise<Deployment> {
  return judgeDeployment(service, version, await readVersions(), verifyByRunning);
}

/**
 * A version may run beside the last release and what is about to be one when of all contracts that it has a part in, as consumer
 * or as provider, none is broken by schemas, and all were verified: released providers' when they were released, the working
 * tree's now.
 */
export async function judgeDeployment(
  service: string,
  version: string,
  versions: readonly Version[],
  verifyNext: VerifyNext,
): Promise<Deployment> {
  const cells = fillGrid(versions, reasonEnums, next);
  const services = new Set(cells.flatMap(({ consumer, provider }) => [serviceOf(consumer), provider]));
  if (!services.has(service)) {
    throw new UnknownDeployment(
      `there is no service ${service}; there are ${[...services].toSorted().join(", ")}`,
    );
  }
  if (!versions.some((one) => one.version === version)) {
    const known = versions.map((one) => one.version).join(" and ");
    throw new UnknownDeployment(`there is no version ${version}; there are ${known}`);
  }
  const concerned = cells.filter(
    (cell) =>
      (cell.provider === service && cell.providerVersion === version) ||
      (serviceOf(cell.consumer) === service && cell.consumerVersion === version),
  );
  if (concerned.length === 0) {
    throw new UnknownDeployment(`${service}@${version} has no contract, as consumer or as provider`);
  }
  const broken = concerned.flatMap(tellFaults);
  if (broken.length > 0) return { can: false, reasons: broken };
  const unmet = concerned.some(({ providerVersion }) => providerVersion === next)
    ? await verifyNext((row) => row.provider === service || serviceOf(row.consumer) === service)
    : [];
  if (unmet.length > 0) return { can: false, reasons: unmet };
  return { can: true, reasons: concerned.map((cell) => `${nameOf(cell)}: fits, and is verified`) };
}

/** `relay@0.1.0` is a part of a service as `relay` is. */
function serviceOf(consumer: string): string {
  const [name = ""] = consumer.split("@");
  return partOf[name] ?? name;
}

function nameOf({ consumer, consumerVersion, provider, providerVersion }: GridCell): string {
  return `${consumer}@${consumerVersion} with ${provider}@${providerVersion}`;
}

function tellFaults(cell: GridCell): readonly string[] {
  const { provider, providerVersion, faults, unverified } = cell;
  return [
    ...faults.map((fault) => `${nameOf(cell)}: ${fault}`),
    ...unverified.map(
      (name) => `${nameOf(cell)}: "${name}" was never verified with ${provider}@${providerVersion}`,
    ),
  ];
}

/** Runs the providers of the working tree against every contract. */
const verifyByRunning: VerifyNext = async (concerns) => {
  const scratch = await mkdtemp(join(tmpdir(), "can-deploy-"));
  try {
    const report = join(scratch, "verified.json");
    const args = ["run", "--config", "test/vitest.config.ts", "--root", root, "contracts/verify.test.ts"];
    const child = spawn(join(root, "node_modules/.bin/vitest"), args, {
      cwd: root,
      stdio: "ignore",
      timeout: verifyTimeoutMs,
      env: { ...process.env, CONTRACTS_REPORT: report },
    });
    await once(child, "close");
    const text = await readFile(report, "utf8").catch(() => undefined);
    if (text === undefined) return ["the contracts could not be verified: npm run contracts says why"];
    const rows: readonly VerifiedRow[] = JSON.parse(text);
    return rows
      .filter(concerns)
      .flatMap(({ consumer, provider, expectation, faults }) =>
        faults.map((fault) => `${consumer} with ${provider}@${next}: "${expectation}": ${fault}`),
      );
  } finally {
    await rm(scratch, { recursive: true });
  }
};
