import type { FileRegistry } from "@bufbuild/protobuf";

import type { Contract } from "./contract.ts";
import { findIncompatibilities, type ReasonEnums } from "./find-incompatibilities.ts";

/** What there is of one version of everything: the providers' schema and the consumers' contracts. */
export interface Version {
  readonly version: string;
  readonly schema: FileRegistry;
  readonly contracts: readonly Contract[];
}

/** One version of a consumer beside one version of its provider. */
export interface GridCell {
  readonly consumer: string;
  readonly consumerVersion: string;
  readonly provider: string;
  readonly providerVersion: string;
  /** What the provider's schema breaks of the contract, a line each, naming the field. */
  readonly faults: readonly string[];
  /** Expectations that this version of the provider was never verified to meet, by name. */
  readonly unverified: readonly string[];
}

/**
 * Sets each version of each consumer beside each version of its provider. A provider's version was verified to meet the
 * contracts of its own version and, for `next`, which is the one that can be run, of every other.
 */
export function fillGrid(
  versions: readonly Version[],
  reasonEnums: ReasonEnums,
  next: string,
): readonly GridCell[] {
  return versions.flatMap((of) =>
    of.contracts.flatMap((contract) =>
      versions.map((beside) => ({
        consumer: contract.consumer,
        consumerVersion: of.version,
        provider: contract.provider,
        providerVersion: beside.version,
        faults: findIncompatibilities(contract, beside.schema, reasonEnums).map(
          ({ element, problem }) => `${element} ${problem}`,
        ),
        unverified: beside.version === next ? [] : findUnverified(contract, beside),
      })),
    ),
  );
}

/** Expectations are the same when nothing about them differs. */
function findUnverified(
  { consumer, provider, ...wanted }: Contract,
  { contracts }: Version,
): readonly string[] {
  const verified = contracts.find((one) => one.consumer === consumer && one.provider === provider);
  const known = new Set([...(verified?.interactions ?? []), ...(verified?.events ?? [])].map(toText));
  return [...wanted.interactions, ...wanted.events]
    .filter((expectation) => !known.has(toText(expectation)))
    .map(({ name }) => name);
}

function toText(expectation: object): string {
  return JSON.stringify(expectation);
}
