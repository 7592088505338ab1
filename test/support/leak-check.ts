import { afterAll, expect } from "vitest";
import { watchLeaks } from "./leak-watch.ts";

/**
 * Fails this test file when it leaves anything open, and names it. To be called once, at the top of the file, before its
 * own hooks: what is registered first runs last, after every fixture was disposed.
 *
 *   expectNoLeaks();
 */
export function expectNoLeaks(): void {
  const watch = watchLeaks();
  afterAll(async () => {
    using _watch = watch;
    expect(await watch.left(), "left open by this file").toEqual([]);
  });
}
