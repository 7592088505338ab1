import type { FileRegistry } from "@bufbuild/protobuf";

import type { Break } from "./buf.ts";
import type { Contract } from "./contract.ts";
import type { ReasonEnums } from "./find-incompatibilities.ts";
import { isWellKnownFile, openView } from "./view.ts";

export interface JudgedBreak extends Break {
  /** Whose contracts use what is broken, and what they use of it; empty: it would hurt nobody who has a contract. */
  readonly hurts: readonly { readonly consumer: string; readonly elements: readonly string[] }[];
}

/** A method, field or value that a contract uses. */
interface Element {
  /** Full name of its service, message or enum. */
  readonly owner: string;
  readonly name: string;
  /** Absent for methods. */
  readonly number?: number;
}

/** Tells of each break which contracts it would hurt. `against` is the image that was compared with. */
export function judgeBreaks(
  breaks: readonly Break[],
  contracts: readonly Contract[],
  against: FileRegistry,
  reasonEnums: ReasonEnums,
): readonly JudgedBreak[] {
  const used = contracts.map((contract) => ({
    consumer: contract.consumer,
    elements: listElements(contract, against, reasonEnums),
  }));
  return breaks.map((broken) => {
    const isHurt = toTest(broken, against);
    const hurts = used.map(({ consumer, elements }) => ({
      consumer,
      elements: elements.filter(isHurt).map(({ owner, name }) => `${owner}.${name}`),
    }));
    return { ...broken, hurts: mergeConsumers(hurts) };
  });
}

/** A consumer has a contract with each of its providers. */
function mergeConsumers(hurts: JudgedBreak["hurts"]): JudgedBreak["hurts"] {
  const byConsumer = Map.groupBy(hurts, ({ consumer }) => consumer);
  return Array.from(byConsumer, ([consumer, parts]) => ({
    consumer,
    elements: [...new Set(parts.flatMap(({ elements }) => elements))],
  })).filter(({ elements }) => elements.length > 0);
}

function listElements(
  contract: Contract,
  schema: FileRegistry,
  reasonEnums: ReasonEnums,
): readonly Element[] {
  const ofView = [...openView(contract)].flatMap((desc): readonly Element[] => {
    if (desc.kind === "extension" || isWellKnownFile(`${desc.file.name}.proto`)) return [];
    const owner = desc.typeName;
    if (desc.kind === "service") return desc.methods.map(({ name }) => ({ owner, name }));
    const members = desc.kind === "message" ? desc.fields : desc.values;
    return members.map(({ name, number }) => ({ owner, name, number }));
  });
  const reasons = contract.interactions.flatMap(({ answer }): readonly Element[] => {
    if (!("reason" in answer)) return [];
    const owner = reasonEnums[answer.domain ?? ""] ?? "";
    const { values = [], sharedPrefix = "" } = schema.getEnum(owner) ?? {};
    const value = values.find(({ name }) => name === `${sharedPrefix.toUpperCase()}${answer.reason}`);
    return value ? [{ owner, name: value.name, number: value.number }] : [];
  });
  return [...ofView, ...reasons];
}

/**
 * buf names what is broken in words alone: `Field "5" with name "version" on message "Case" …`, `Previously present message "Case"
 * …`, with types named from their package on. What is put otherwise is taken to break its whole file.
 */
function toTest({ file, message }: Break, against: FileRegistry): (element: Element) => boolean {
  const packageName = against.getFile(file)?.proto.package ?? "";
  const full = (name: string): string => (packageName === "" ? name : `${packageName}.${name}`);
  const [, member, memberName, memberOwner] =
    /(?:field|enum value|RPC) "([^"]+)"(?: with name "([^"]+)")?.*? on (?:message|enum|service) "([^"]+)"/i.exec(
      message,
    ) ?? [];
  if (memberOwner !== undefined) {
    return ({ owner, name, number }) =>
      owner === full(memberOwner) && (name === member || name === memberName || String(number) === member);
  }
  const [, whole] = /(?:message|enum|service) "([^"]+)"/i.exec(message) ?? [];
  if (whole !== undefined) return ({ owner }) => owner === full(whole) || owner.startsWith(`${full(whole)}.`);
  const types = new Set(
    Array.from(against).flatMap((desc) =>
      desc.kind !== "extension" && (file === "" || desc.file.proto.name === file) ? [desc.typeName] : [],
    ),
  );
  return ({ owner }) => types.has(owner);
}
