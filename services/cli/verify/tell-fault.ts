import { exitCodes, type Fault, type FaultKind, type Place, toLine } from "./fault.ts";

const headings: Readonly<Record<FaultKind, string>> = {
  usage: "not understood",
  unreadable: "cannot be read",
  signature: "the signature does not hold",
  root: "the log is not what was signed",
  inclusion: "an entry is not what was signed",
  gap: "something is missing or out of order",
  chain: "a history was cut and joined",
  rule: "a rule was broken",
  fork: "the log was rewritten or cut short",
};

/** A fault for people, over several lines; none of its texts can add a line. */
export function tellFault(fault: Fault): string {
  const { kind, likely = [] } = fault;
  return [
    `NOT VERIFIED: ${headings[kind]} (${exitCodes[kind]})`,
    ...tell(fault),
    ...likely.flatMap((one) => ["  the change may be here:", ...tell(one).map((line) => `  ${line}`)]),
  ].join("\n");
}

function tell({ what, place, expected, found }: Fault): string[] {
  const lines = [`  ${toLine(what)}`];
  if (place) lines.push(`  where:    ${tellPlace(place)}`);
  if (expected !== undefined) lines.push(`  expected: ${toLine(expected)}`);
  if (found !== undefined) lines.push(`  found:    ${toLine(found)}`);
  return lines;
}

function tellPlace({ leafIndex, source, subject, sequence, eventId }: Place): string {
  const parts = [`leaf ${leafIndex}`];
  if (subject !== undefined) parts.push(`subject ${toLine(subject)}`);
  if (sequence !== undefined) parts.push(`sequence ${sequence}`);
  if (eventId !== undefined) parts.push(`event ${toLine(eventId)}`);
  if (source !== undefined) parts.push(`told by ${toLine(source)}`);
  return parts.join(", ");
}
