import { inject } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    /** Every so-many-th crash point at which starting a process anew takes its time; 1: all of them. */
    crashPointStride: number;
  }
}

/** One place in an operation at which something dies. */
export interface Point {
  /** Of the message, from 1. */
  readonly n: number;
  readonly when: "before" | "after";
}

/** The kind of message that an attack struck at, and what came of it; `undefined`: the operation was over before. */
export type Struck = string | undefined;

/**
 * Attacks at n = 1, 2, …, before and after the message, until the operation is over before its n-th: with several stages,
 * one attack at a time on each. Returns what was struck at each point, by n, before and after.
 */
export async function atEveryPoint<Stage>(
  stages: readonly Stage[],
  attack: (stage: Stage, point: Point) => Promise<Struck>,
  stride = 1,
): Promise<readonly string[]> {
  const struck: string[] = [];
  let index = 0;
  let isOver = false;
  await Promise.all(
    stages.map(async (stage) => {
      while (!isOver) {
        const point = pointAt(index);
        index += stride;
        const what = await attack(stage, point).catch((error: unknown) => {
          isOver = true; // The other stages need not go on.
          throw new Error(`${point.when} message ${point.n}: ${String(error)}`, { cause: error });
        });
        if (what === undefined) isOver = true;
        else struck.push(`${point.when} ${what}`);
      }
    }),
  );
  return struck;
}

function pointAt(index: number): Point {
  return { n: 1 + Math.floor(index / 2), when: index % 2 === 0 ? "before" : "after" };
}

/** All points in a campaign, some in an ordinary run: for attacks that cost a process each, or differ little from a whole one. */
export const killStride = (): number => inject("crashPointStride");

/** As `killStride`, where a point costs no process: a fifth in an ordinary run, before and after in turn. */
export const cutStride = (): number => Math.ceil(killStride() / 4);

/** Waits for something that must not hang. */
export async function within<T>(ms: number, what: string, awaited: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what}: not within ${ms} ms`)), ms);
  try {
    return await Promise.race([awaited, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
