import { randomUUID } from "node:crypto";

import {
  fromBinary,
  fromJson,
  toJson,
  type DescMessage,
  type JsonObject,
  type Registry,
} from "@bufbuild/protobuf";

import type {
  Answer,
  Caller,
  EventExpectation,
  ExpectedMessage,
  Interaction,
  Json,
  ProviderState,
} from "./contract.ts";
import { detailTypes, expectedDetails } from "./error-details.ts";
import { fillForReplay, fillMetadata, type Given } from "./fill.ts";
import { findMessage, findMethod } from "./find-uses.ts";
import { compare, findMismatches, show, type MatchOptions, type Mismatch } from "./match.ts";
import type { Replay, Replayed } from "./replay.ts";

/** A provider that runs, and knows how it is brought into the states that contracts name. */
export interface Provider {
  readonly url: string;
  readonly states: { readonly [name: string]: StateSetup };
  token(caller: Caller, tenant: string): Promise<string>;
  /** The encoded events of a tenant, once all that were caused are emitted. */
  emitted(tenant: string): Promise<readonly Uint8Array[]>;
}

/** Brings the provider into a state and gives back the values that `given` refers to. Throws when it cannot. */
export type StateSetup = (wanted: {
  /** A tenant that nothing else uses. */
  readonly tenant: string;
  readonly parameters: { readonly [name: string]: Json };
  /** Who is going to call. */
  readonly caller: Caller | undefined;
}) => Promise<Given>;

/** Replays one interaction against a real provider; returns what is other than the consumer expects, one line each. */
export async function verifyInteraction(
  view: Registry,
  interaction: Interaction,
  provider: Provider,
  replay: Replay,
): Promise<readonly string[]> {
  const { call, answer, state } = interaction;
  const method = findMethod(view, call.method);
  const tenant = newTenant();
  const given = await bringInto(provider, state, tenant, call.caller);
  const token = call.caller && (await provider.token(call.caller, tenant));
  const replayed = await replay({
    url: provider.url,
    method,
    request: fromJson(method.input, fillForReplay(call.request, given) as JsonObject),
    metadata: [
      ...fillMetadata(call.metadata ?? {}, given),
      ...(token === undefined ? [] : [["authorization", `Bearer ${token}`] as const]),
    ],
    deadlineMs: call.deadlineMs,
    messagesMax: "messages" in answer && answer.end === "open" ? answer.messages.length : undefined,
  });
  return judge(answer, method.output, replayed, given);
}

/** Has a real provider emit an event; returns what is other than the consumer expects, one line each. */
export async function verifyEvent(
  view: Registry,
  { state, message, which, fields }: EventExpectation,
  provider: Provider,
): Promise<readonly string[]> {
  const desc = findMessage(view, message);
  const tenant = newTenant();
  const given = await bringInto(provider, state, tenant, undefined);
  const options = toOptions(given);
  const events = (await provider.emitted(tenant)).map((bytes) => toJson(desc, fromBinary(desc, bytes)));
  const meant = events.filter((event) => findMismatches(which, event, options).length === 0);
  if (meant.length === 0) {
    return Object.entries(which).map(([field, value]) => {
      const fitting = events.filter(
        (event) => findMismatches({ [field]: value }, event, options).length === 0,
      );
      return `${message} ${field}: ${fitting.length} of the ${events.length} emitted have ${show(fillForReplay({ [field]: value }, given)[field])}`;
    });
  }
  return meant.flatMap((event) => toLines(message, findMismatches(fields, event, options)));
}

function newTenant(): string {
  return `contract-${randomUUID()}`;
}

async function bringInto(
  provider: Provider,
  { name, parameters = {} }: ProviderState,
  tenant: string,
  caller: Caller | undefined,
): Promise<Given> {
  const setUp = provider.states[name];
  if (setUp === undefined) throw new Error(`the provider knows no state "${name}"`);
  try {
    return await setUp({ tenant, parameters, caller });
  } catch (error) {
    throw new Error(`the state "${name}" could not be brought about: ${String(error)}`, { cause: error });
  }
}

function judge(answer: Answer, output: DescMessage, replayed: Replayed, given: Given): string[] {
  const options = toOptions(given);
  const lines: string[] = [];
  if (answer.code !== replayed.code) lines.push(`code: expected ${answer.code}, got ${replayed.code}`);
  for (const [name, value] of Object.entries(answer.metadata ?? {})) {
    const mismatches = compare(value, replayed.metadata.get(name) ?? undefined, options, name);
    lines.push(...mismatches.map(({ problem }) => `header ${name}: ${problem}`));
  }
  if (answer.code !== "OK") {
    for (const [desc, fields] of expectedDetails(answer))
      lines.push(...judgeDetail(desc, fields, replayed, options));
    return lines;
  }
  if (replayed.code !== "OK") return [...lines, ...tellReasons(replayed)];
  const expected = "messages" in answer ? answer.messages : "message" in answer ? [answer.message] : [];
  if (expected.length !== replayed.messages.length) {
    lines.push(`expected ${expected.length} messages, got ${replayed.messages.length}`);
  }
  expected.forEach((message, index) => {
    const actual = replayed.messages[index];
    if (actual === undefined) return;
    lines.push(...toLines(output.typeName, findMismatches(message, toJson(output, actual), options)));
  });
  return lines;
}

function judgeDetail(
  desc: DescMessage,
  expected: ExpectedMessage,
  { details }: Replayed,
  options: MatchOptions,
): readonly string[] {
  const detail = details.find(({ typeName }) => typeName === desc.typeName);
  if (detail === undefined) return [`${desc.typeName}: there is none`];
  return toLines(
    desc.typeName,
    findMismatches(expected, toJson(desc, fromBinary(desc, detail.value)), options),
  );
}

/** Of a refusal that nobody expected: why it came. */
function tellReasons({ details }: Replayed): readonly string[] {
  return details.flatMap(({ typeName, value }) => {
    const desc = detailTypes.getMessage(typeName);
    return desc ? [`it said ${JSON.stringify(toJson(desc, fromBinary(desc, value)))}`] : [];
  });
}

function toLines(typeName: string, mismatches: readonly Mismatch[]): readonly string[] {
  return mismatches.map(({ path, problem }) => `${typeName} ${path}: ${problem}`);
}

function toOptions(given: Given): MatchOptions {
  return { mode: "tolerant", given: ({ name }) => given[name] };
}
