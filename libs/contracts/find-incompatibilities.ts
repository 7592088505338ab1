import { fromBinary, fromJson, toBinary, type JsonObject, type Registry } from "@bufbuild/protobuf";
import { createValidator, type Validator } from "@bufbuild/protovalidate";

import { compareView, type Incompatibility } from "./compare-view.ts";
import type { Contract, Interaction } from "./contract.ts";
import { fillWithExamples } from "./fill.ts";
import { findMethod } from "./find-uses.ts";
import { openView } from "./view.ts";

/** By error domain: the enum that lists its reasons; the values' shared prefix is left out on the wire. */
export type ReasonEnums = { readonly [domain: string]: string };

/**
 * What a provider's schema breaks of a contract, as far as it can be told without running the provider: the view; the rules that
 * requests have to keep (protovalidate), where the consumer expects its request to be taken; and the reasons that there are.
 */
export function findIncompatibilities(
  contract: Contract,
  provider: Registry,
  reasonEnums: ReasonEnums,
): readonly Incompatibility[] {
  const view = openView(contract);
  return withoutRepeats([
    ...compareView(view, provider),
    ...contract.interactions.flatMap((interaction) => findBrokenRules(interaction, view, provider)),
    ...contract.interactions.flatMap((interaction) => findUnknownReason(interaction, provider, reasonEnums)),
  ]);
}

function findBrokenRules(
  { name, call, answer }: Interaction,
  view: Registry,
  provider: Registry,
): readonly Incompatibility[] {
  if (answer.code === "INVALID_ARGUMENT") return [];
  const { input } = findMethod(view, call.method);
  const desc = provider.getMessage(input.typeName);
  if (desc === undefined) return []; // Told already.
  const bytes = toBinary(input, fromJson(input, fillWithExamples(call.request) as JsonObject));
  const result = validatorOf(provider).validate(desc, fromBinary(desc, bytes));
  if (result.kind === "valid") return [];
  if (result.kind === "error") throw result.error;
  return result.violations.map(({ field, message }) => ({
    element: `${desc.typeName}.${field.map((part) => ("name" in part ? part.name : "[]")).join(".")}`,
    problem: `the request of "${name}" is refused: ${message}`,
  }));
}

/** A validator reads the rules of a message once. */
const validators = new WeakMap<Registry, Validator>();

function validatorOf(registry: Registry): Validator {
  const known = validators.get(registry) ?? createValidator({ registry, legacyRequired: true });
  validators.set(registry, known);
  return known;
}

function findUnknownReason(
  { name, answer }: Interaction,
  provider: Registry,
  reasonEnums: ReasonEnums,
): readonly Incompatibility[] {
  if (!("reason" in answer) || answer.reason === undefined) return [];
  const enumName = reasonEnums[answer.domain ?? ""];
  if (enumName === undefined) return [];
  const { values = [], sharedPrefix = "" } = provider.getEnum(enumName) ?? {};
  const wanted = `${sharedPrefix.toUpperCase()}${answer.reason}`;
  if (values.some((value) => value.name === wanted)) return [];
  return [{ element: `${enumName}.${wanted}`, problem: `is missing, and "${name}" relies on it` }];
}

/** Many interactions use one field; it is told once. */
function withoutRepeats(found: readonly Incompatibility[]): readonly Incompatibility[] {
  return [...new Map(found.map((one) => [`${one.element} ${one.problem}`, one])).values()];
}
