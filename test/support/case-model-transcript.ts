import { keyOf, type Request } from "./case-model.ts";
import type { Observation, Told } from "./case-model-beliefs.ts";

/** What was sent and told, a line each, short enough to be read when a run has failed. */
export interface Transcript {
  note(title: string, observations: readonly Observation[]): void;
  readonly text: () => string;
}

export function createTranscript(): Transcript {
  const lines: string[] = [];
  const numbers = new Map<string, number>();
  /** Request ids and case keys are long: each is shown as the number of its first showing. */
  const numberOf = (id: string): string => {
    const number = numbers.get(id) ?? numbers.size + 1;
    numbers.set(id, number);
    return `#${number}`;
  };
  const describeRequest = (request: Request): string => {
    const { action, caseKey, ...rest } = request.message;
    const what =
      caseKey === undefined ? `${action} ${numberOf(keyOf(request))}` : `${action} ${numberOf(caseKey)}`;
    const more = Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : "";
    return `${request.tenant.slice(-1)}/${request.who} ${what}, id ${numberOf(request.requestId)}${more}`;
  };
  return {
    note(title, observations) {
      lines.push(title);
      for (const { request, told } of observations) {
        lines.push(`  ${describeRequest(request)} -> ${describeTold(told)}`);
      }
    },
    text: () => lines.join("\n"),
  };
}

function describeTold(told: Told): string {
  if (told.kind === "refused") return told.outcome;
  if (told.kind !== "accepted") return told.kind;
  return `${told.facts.state}, version ${told.facts.version}${told.replayed ? ", replayed" : ""}`;
}
