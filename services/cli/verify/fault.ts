/** How a log can fail, and the exit code that tells so. */
export const exitCodes = {
  usage: 2,
  unreadable: 3,
  signature: 10,
  root: 11,
  inclusion: 12,
  gap: 13,
  chain: 14,
  rule: 15,
  fork: 16,
} as const;

export type FaultKind = keyof typeof exitCodes;

/** Which event a fault is about, as far as that can be told. */
export interface Place {
  /** From 0. */
  readonly leafIndex: number;
  readonly source?: string;
  readonly subject?: string;
  /** Number of the event in its subject's history, from 1. */
  readonly sequence?: string;
  readonly eventId?: string;
}

/** What is wrong, in words for somebody who knows cases and not this software. */
export interface Fault {
  readonly kind: FaultKind;
  /** One sentence. */
  readonly what: string;
  readonly expected?: string;
  readonly found?: string;
  readonly place?: Place;
  /** Of a root that does not hold: the first things in the log that do not fit, where the change may be. */
  readonly likely?: readonly Fault[];
}

/** The log, or the proof, does not hold. */
export class Unverified extends Error {
  override readonly name = "Unverified";
  readonly fault: Fault;

  constructor(fault: Fault, options?: ErrorOptions) {
    super(fault.what, options);
    this.fault = fault;
  }
}

export function unreadable(what: string, options?: ErrorOptions): Unverified {
  return new Unverified({ kind: "unreadable", what }, options);
}

const quotedMax = 120;

/** Text on one line of ours: it can neither end the line nor steer a terminal. */
export function toLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, "\ufffd");
}

/** Words of a log within a sentence of ours. */
export function quote(text: string): string {
  return toLine(text.length > quotedMax ? `${text.slice(0, quotedMax)}…` : text);
}
