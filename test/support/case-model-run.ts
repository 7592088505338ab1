import { emptyWorld, type Request } from "./case-model.ts";
import { expectedOf, observe, type Belief, type Observation } from "./case-model-beliefs.ts";
import type { Command, Fault } from "./case-model-commands.ts";
import { resolveCall } from "./case-model-resolve.ts";
import type { Transcript } from "./case-model-transcript.ts";

/** What runs the model's requests for real. Returns what each was told, in the order given. */
export interface Subject {
  /** Sends all at once, with `fault` in place. */
  sendAtOnce(requests: readonly Sending[], fault: Fault): Promise<readonly Observation[]>;
  /** Sends one, with nothing in the way. */
  sendAgain(request: Sending): Promise<Observation>;
}

export interface Sending {
  readonly request: Request;
  readonly replica: 0 | 1;
}

/** Retries after which a service that stays unavailable counts as broken. */
const retriesMax = 20;

/**
 * Plays commands against the real thing and follows them in the model; returns the worlds that are left, and notes what
 * went on. Throws as soon as an answer fits none.
 */
export async function follow(
  tenants: readonly [string, string],
  commands: readonly Command[],
  subject: Subject,
  transcript: Transcript,
): Promise<readonly Belief[]> {
  const sent: Request[] = [];
  let left: readonly Belief[] = [{ world: emptyWorld(), pending: [] }];
  const learn = (title: string, observations: readonly Observation[]): void => {
    transcript.note(title, observations);
    const after = observe(left, observations);
    if (after.length === 0) {
      const requests = observations.map(({ request }) => request);
      const expected = expectedOf(left, requests).map((told, index) => ({ request: requests[index]!, told }));
      transcript.note("one after the other the model says", expected);
      throw new Error("the last answers fit no order in which the requests can have taken effect");
    }
    left = after;
  };
  for (const { calls, fault } of commands) {
    const world = left[0]!.world; // There is one at least, or `learn` had thrown.
    const sendings = calls.flatMap((call) => {
      const request = resolveCall(call, tenants, world, sent);
      return Array.from({ length: call.copies }, (_, copy): Sending => {
        return { request, replica: copy % 2 === 0 ? call.replica : call.replica === 0 ? 1 : 0 };
      });
    });
    sent.push(...sendings.map(({ request }) => request));
    const observations = await subject.sendAtOnce(sendings, fault);
    learn(`fault: ${fault.kind}`, observations);
    for (const [index, { told }] of observations.entries()) {
      let answered = told;
      for (let retry = 0; answered.kind === "unknown" || answered.kind === "nothing"; retry++) {
        if (retry === retriesMax) throw new Error(`still ${answered.kind} after ${retriesMax} retries`);
        const observation = await subject.sendAgain(sendings[index]!);
        learn("sent again", [observation]);
        answered = observation.told;
      }
    }
  }
  return left;
}
