import type { Breach } from "./breach.ts";
import type { CaseFacts } from "./case-facts.ts";
import type { Context } from "./rules-steps.ts";

export function judgeHold({ facts }: Context): Breach | undefined {
  if (facts.onHold === true) return { what: "A case was put on hold that was on hold already." };
  return facts.erased === true ? { what: "A case was put on hold whose content was erased." } : undefined;
}

export function judgeRelease({ facts }: Context): Breach | undefined {
  return facts.onHold === false ? { what: "A hold was released, and the case was not on hold." } : undefined;
}

/** A hold forbids erasure and nothing else. */
export function judgeErasure({ facts }: Context): Breach | undefined {
  if (facts.onHold === true) {
    return {
      what: "The content of the case was erased while the case was on hold.",
      expected: "a release of the hold before",
      found: "none",
    };
  }
  return facts.erased === true ? { what: "The content of the case was erased twice." } : undefined;
}

export const followHold = (): Partial<CaseFacts> => ({ onHold: true });
export const followRelease = (): Partial<CaseFacts> => ({ onHold: false });
export const followErasure = (): Partial<CaseFacts> => ({ erased: true });
