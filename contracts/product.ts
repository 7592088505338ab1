import { join, resolve } from "node:path";

import type { ReasonEnums } from "#libs/contracts/find-incompatibilities.ts";

export const root = resolve(import.meta.dirname, "..");
export const protoFolder = join(root, "proto");
export const contractsFolder = import.meta.dirname;
export const releasedFolder = join(contractsFolder, "released");

export const reasonEnums: ReasonEnums = { caseflow: "caseflow.options.v1.ErrorReason" };

/** Consumers that are deployed within a service and not on their own. */
export const partOf: { readonly [consumer: string]: string } = { relay: "case" };

/** The version in the working tree. */
export const next = "next";
