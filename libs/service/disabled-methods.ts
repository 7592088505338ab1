import type { DescService } from "@bufbuild/protobuf";
import { list, type Setting } from "#libs/config/setting.ts";
import { Fault } from "#libs/fault/fault.ts";
import type { Gate } from "#libs/rpc/call-chain.ts";

/**
 * The setting CASEFLOW_DISABLED_METHODS: methods that an operator has switched off, as `package.Service/Method` or, shorter, `Method`.
 * Read as whole names; those of a service that this process does not serve are known, and nothing to it. `services` are all there are.
 */
export function disabledMethods(services: readonly DescService[]): Setting<readonly string[]> {
  const names = services.flatMap(({ typeName, methods }) =>
    methods.map(({ name }) => ({ name, whole: `${typeName}/${name}` })),
  );
  const known = names.flatMap(({ name, whole }) => [whole, name]);
  const read = list<readonly string[]>("CASEFLOW_DISABLED_METHODS", { of: known, fallback: [] });
  return (env) => {
    const found = read(env);
    if (found.fault !== undefined) return found;
    const { value: given } = found;
    const isGiven = ({ name, whole }: (typeof names)[number]) =>
      given.includes(name) || given.includes(whole);
    return { ...found, value: names.filter(isGiven).map(({ whole }) => whole) };
  };
}

/** Fault METHOD_DISABLED for calls of these methods, `package.Service/Method`. It says nothing of when: nobody knows. */
export function refuseDisabled(wholeNames: readonly string[]): Gate {
  const disabled = new Set(wholeNames);
  return ({ service, method }) => {
    if (!disabled.has(`${service.typeName}/${method.name}`)) return;
    const message = `${method.name} is switched off`;
    throw new Fault<"METHOD_DISABLED">("METHOD_DISABLED", {}, { message });
  };
}
