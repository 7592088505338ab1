import {
  create,
  createRegistry,
  fromJson,
  toBinary,
  toJson,
  type DescFile,
  type DescMessage,
  type JsonObject,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

import type { Contract, EventExpectation, ExpectedMessage, Interaction } from "./contract.ts";
import { expectedDetails } from "./error-details.ts";
import { fillWithExamples } from "./fill.ts";
import { findMessage, findMethod, findUses } from "./find-uses.ts";
import { equalJson, show } from "./match.ts";
import { pruneSchema } from "./prune-schema.ts";
import { startStandIn } from "./stand-in.ts";

export interface ContractRecorder {
  /**
   * Runs the consumer's own code against a stand-in that knows these interactions alone, at `url`. Throws when the code
   * throws, when it calls what is not among them, or does not call one of them.
   */
  expect(interactions: readonly Interaction[], consumer: (url: string) => Promise<void>): Promise<void>;
  /** Hands the consumer's own code an encoded event in which only the fields named here are filled. */
  expectEvent(event: EventExpectation, consumer: (bytes: Uint8Array) => Promise<void> | void): Promise<void>;
  /** All that was expected, each under its name, with the view of the schema that this takes. */
  toContract(): Contract;
}

export interface RecorderOptions {
  readonly consumer: string;
  readonly provider: string;
  /** The generated schema that the consumer works with: files of services and of events. */
  readonly files: readonly DescFile[];
}

/** Collects the contract of one consumer with one provider while the consumer's tests run. */
export function recordContract({ consumer, provider, files }: RecorderOptions): ContractRecorder {
  const schema = createRegistry(...files);
  const interactions = new Map<string, Interaction>();
  const events = new Map<string, EventExpectation>();

  return {
    async expect(expected, run) {
      for (const interaction of expected) {
        checkInteraction(schema, interaction);
        keep(interactions, interaction);
      }
      await using standIn = await startStandIn(files, expected);
      const failure = await run(standIn.url).then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      if (standIn.unexpected.length > 0) {
        throw new Error(standIn.unexpected.join("\n"), failure && { cause: failure.error });
      }
      if (failure !== undefined) throw failure.error;
      const idle = expected.filter((interaction) => !standIn.exercised.has(interaction));
      if (idle.length > 0) {
        throw new Error(`never called for: ${idle.map(({ name }) => `"${name}"`).join(", ")}`);
      }
    },
    async expectEvent(event, run) {
      const desc = findMessage(schema, event.message);
      const fields = { ...event.which, ...event.fields };
      checkExample(desc, fields, event.name);
      keep(events, event);
      await run(toBinary(desc, fromJson(desc, fillWithExamples(fields) as JsonObject)));
    },
    toContract() {
      const parts = { interactions: sorted(interactions), events: sorted(events) };
      const view = pruneSchema(findUses(parts, schema));
      return {
        $schema: "../contract.schema.json",
        formatVersion: 1,
        consumer,
        provider,
        ...parts,
        view: toJson(FileDescriptorSetSchema, create(FileDescriptorSetSchema, view)),
      };
    },
  };
}

function keep<T extends { readonly name: string }>(known: Map<string, T>, one: T): void {
  const before = known.get(one.name);
  if (before !== undefined && JSON.stringify(before) !== JSON.stringify(one)) {
    throw new Error(`"${one.name}" is the name of two different expectations`);
  }
  known.set(one.name, one);
}

function sorted<T extends { readonly name: string }>(known: ReadonlyMap<string, T>): readonly T[] {
  return [...known.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function checkInteraction(
  schema: ReturnType<typeof createRegistry>,
  { name, call, answer }: Interaction,
): void {
  const method = findMethod(schema, call.method);
  checkExample(method.input, call.request, `request of "${name}"`);
  const messages = "messages" in answer ? answer.messages : "message" in answer ? [answer.message] : [];
  for (const message of messages) checkExample(method.output, message, `answer of "${name}"`);
  if (answer.code !== "OK") {
    for (const [desc, fields] of expectedDetails(answer))
      checkExample(desc, fields, `${desc.name} of "${name}"`);
  }
}

/** Values are compared as proto3 JSON writes them, so they have to be written that way: zero left out, 64 bits as text. */
function checkExample(desc: DescMessage, expected: ExpectedMessage, where: string): void {
  const example = fillWithExamples(expected);
  const written = toJson(desc, fromJson(desc, example as JsonObject));
  if (!equalJson(example, written)) {
    throw new Error(`${where}: proto3 JSON writes ${show(written)}, not ${show(example)}`);
  }
}
