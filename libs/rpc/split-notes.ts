import type { CallNotes } from "./call-notes.ts";

/**
 * Splits notes whose lists are long, so that no line is: in each part they have at most `bytesMax` as JSON, or one item that is longer
 * by itself. Every item is in one part, in its order; what is no list is in the first.
 */
export function splitNotes(notes: CallNotes, bytesMax: number): readonly CallNotes[] {
  const single: Record<string, CallNotes[string]> = {};
  const parts: Record<string, string[]>[] = [{}];
  let left = bytesMax;
  for (const [name, value] of Object.entries(notes)) {
    if (typeof value !== "object") single[name] = value;
    else if (value.length === 0) parts[0]![name] = []; // It has a first part.
    else
      for (const item of value) {
        const bytes = Buffer.byteLength(JSON.stringify(item)) + 1;
        if (bytes > left && left < bytesMax) {
          parts.push({});
          left = bytesMax;
        }
        (parts.at(-1)![name] ??= []).push(item);
        left -= bytes;
      }
  }
  return parts.map((lists, index) => (index === 0 ? { ...single, ...lists } : lists));
}
