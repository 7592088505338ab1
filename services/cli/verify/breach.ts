/** A rule that an event breaks, told without its place. */
export interface Breach {
  /** One sentence. */
  readonly what: string;
  readonly expected?: string;
  readonly found?: string;
}
