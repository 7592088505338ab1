import { unreadable } from "./fault.ts";

/** More than any line of an export has: an event of 64 KiB in base64, or a checkpoint. */
export const lineBytesMax = 256 * 1024;

const newline = 0x0a;

/**
 * The lines of a file, without their ends, whatever the pieces it comes in; the last one may lack its end. Throws `Unverified`
 * on a line that is too long, before it is in memory, and on one that is no UTF-8.
 */
export async function* readLines(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let number = 0;
  const decode = (bytes: Uint8Array): string => {
    number += 1;
    try {
      return decoder.decode(bytes);
    } catch (cause) {
      throw unreadable(`Line ${number} is no text in UTF-8.`, { cause });
    }
  };
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const piece of pieces) {
    let start = 0;
    for (let end = piece.indexOf(newline); end !== -1; end = piece.indexOf(newline, start)) {
      const tail = piece.subarray(start, end);
      if (heldBytes + tail.length > lineBytesMax) throw tooLong(number + 1);
      yield decode(held.length === 0 ? tail : Buffer.concat([...held, tail]));
      [held, heldBytes, start] = [[], 0, end + 1];
    }
    const rest = piece.subarray(start);
    heldBytes += rest.length;
    if (heldBytes > lineBytesMax) throw tooLong(number + 1);
    if (rest.length > 0) held.push(Buffer.from(rest)); // A copy: the piece may be large, and used again.
  }
  if (heldBytes > 0) yield decode(Buffer.concat(held));
}

function tooLong(number: number): Error {
  return unreadable(`Line ${number} is longer than ${lineBytesMax} bytes.`);
}
