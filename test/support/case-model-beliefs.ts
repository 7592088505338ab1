import { isDeepStrictEqual } from "node:util";
import { keyOf, play, type Answer, type Request, type World } from "./case-model.ts";

/*
 * What the model holds possible. Requests sent at once may have taken effect in any order; one that was answered
 * OUTCOME_UNKNOWN may have taken effect, or not, or will a little later. So the model follows every world that fits what was
 * answered so far, and an answer that fits none of them is wrong. A retry with the same request id settles the matter.
 */

/** What a caller was told. `nothing`: surely no effect. `unknown`: perhaps. */
export type Told = Answer | { readonly kind: "nothing" } | { readonly kind: "unknown" };

export interface Observation {
  readonly request: Request;
  readonly told: Told;
}

export interface Belief {
  readonly world: World;
  /** Requests of unknown outcome that had no effect in this world yet. */
  readonly pending: readonly Request[];
}

/** A belief, and how many of each kind of observation have not found their place in the order yet. */
interface Stage {
  readonly belief: Belief;
  readonly open: readonly number[];
}

/**
 * The worlds that are left after requests sent at once were answered as observed; none when the answers cannot be right.
 * A retry is observed like any request, alone.
 */
export function observe(beliefs: readonly Belief[], observations: readonly Observation[]): readonly Belief[] {
  const alike = [...Map.groupBy(observations, (observation) => JSON.stringify(observation)).values()];
  const kinds = alike.flatMap(([first]) => first ?? []);
  let stages: readonly Stage[] = beliefs.map((belief) => ({
    belief,
    open: alike.map((same) => same.length),
  }));
  for (let place = 0; place < observations.length; place++) {
    stages = distinct(stages.flatMap((stage) => nextStages(stage, kinds)));
  }
  return stages.map(({ belief }) => belief);
}

/** What the model expects instead, for a message: the answers in the order sent, in the first world. */
export function expectedOf(beliefs: readonly Belief[], requests: readonly Request[]): Answer[] {
  let world = beliefs[0]?.world;
  return requests.flatMap((request) => {
    if (!world) return [];
    const { answer, after } = play(world, request);
    world = after;
    return answer;
  });
}

/** Every observation that may come next, in every world that there may be by then. */
function nextStages({ belief, open }: Stage, kinds: readonly Observation[]): Stage[] {
  return withLateEffects(belief).flatMap((late) =>
    kinds.flatMap((observation, kind) => {
      const left = open[kind] ?? 0;
      if (left === 0) return [];
      return afterwards(late, observation).map((next) => ({ belief: next, open: open.with(kind, left - 1) }));
    }),
  );
}

/** The worlds in which `observation` is what was told. */
function afterwards(belief: Belief, { request, told }: Observation): Belief[] {
  if (told.kind === "nothing") return [belief];
  const { answer, after: world } = play(belief.world, request);
  const pending = belief.pending.filter((other) => keyOf(other) !== keyOf(request));
  if (told.kind !== "unknown") return isDeepStrictEqual(answer, told) ? [{ world, pending }] : [];
  // Nobody is left in the dark about a refusal, or a replay: only a commit can have been under way.
  if (world === belief.world) return [];
  return [
    { world, pending },
    { world: belief.world, pending: [...pending, request] },
  ];
}

/** The belief itself, and each in which some pending requests have taken effect meanwhile. */
function withLateEffects(belief: Belief): Belief[] {
  const later = belief.pending.flatMap((request) => {
    const { after: world } = play(belief.world, request);
    if (world === belief.world) return [];
    return withLateEffects({ world, pending: belief.pending.filter((other) => other !== request) });
  });
  return [belief, ...later];
}

function distinct(stages: readonly Stage[]): Stage[] {
  const byContent = new Map(
    stages.map((stage) => {
      const pending = stage.belief.pending.map(keyOf).toSorted();
      return [JSON.stringify([contentOf(stage.belief.world), pending, stage.open]), stage];
    }),
  );
  return [...byContent.values()];
}

const contents = new WeakMap<World, string>();

/** Equal for equal worlds. */
function contentOf(world: World): string {
  const known = contents.get(world);
  if (known !== undefined) return known;
  const entries = [...world.cases, ...world.applied].map((entry) => JSON.stringify(entry)).toSorted();
  const content = entries.join("\n");
  contents.set(world, content);
  return content;
}
