import type { Content, DecisionState, Policy } from "./case.ts";

export type ContentField = keyof Content;

/** What a caller wants done, one member an action. */
export type Command =
  | {
      readonly action: "create";
      readonly caseType: string;
      readonly externalReference: string;
      readonly content: Content;
    }
  | { readonly action: "update"; readonly content: Content; readonly fields: readonly ContentField[] }
  | { readonly action: "submit" }
  | { readonly action: "assign_reviewer"; readonly reviewerId: string }
  | { readonly action: "start_review" }
  | { readonly action: "approve"; readonly reason: string }
  | { readonly action: "reject"; readonly reason: string }
  | { readonly action: "appeal"; readonly grounds: string }
  | { readonly action: "start_appeal_review" }
  | { readonly action: "approve_appeal" | "reject_appeal"; readonly reason: string }
  | {
      readonly action: "override";
      readonly target: DecisionState;
      readonly reason: string;
      readonly legalAuthority: string;
    }
  | { readonly action: "close"; readonly reason: string }
  | {
      readonly action: "place_hold" | "release_hold" | "erase";
      readonly reason: string;
      readonly legalBasis: string;
    };

/** The command of one action. */
export type CommandOf<A extends Command["action"]> = Extract<Command, { readonly action: A }>;

/** A command about who keeps a case's content, which leaves its state alone. */
export type CustodyCommand = CommandOf<"place_hold" | "release_hold" | "erase">;

/** What a decision depends on besides case and command; given, so that the same inputs decide the same way. */
export interface Circumstances {
  /**
   * The person who acts: whom the caller acts for, and only without anybody such the caller. Independence is judged on
   * the person, so that no program in between gives somebody a second voice.
   */
  readonly personId: string;
  readonly at: Date;
  /** When it happened by the account of another system, whose action is imported. `undefined`: it happens now. */
  readonly reportedAt: Date | undefined;
  /** Id of the case, should one be created. */
  readonly newCaseId: string;
  /** In force for a case of the type that is to be created; `undefined` when none is. */
  readonly policy: Policy | undefined;
  /** Commits to a new version of the content, with a salt of its own. */
  readonly commitTo: (content: Content) => Uint8Array;
}
