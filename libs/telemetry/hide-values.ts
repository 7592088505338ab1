/**
 * Hides what a sentence quotes: everything from its first quote on. Where the value ends cannot be told, since many who quote escape
 * no quote in it, break its lines, and cut it short. An apostrophe in a word is no quote.
 */
export function hideValues(text: string): string {
  return text.replace(/(?:["`“„«‘‚‹]|(?<![\p{L}\p{N}])').*/su, '"…"');
}
