export interface Progress {
  /** Runs one step under its name, and writes what it answered and how long it took. */
  step<T>(
    name: string,
    run: (note: (text: string) => void) => Promise<T>,
    tell?: (value: T) => string,
  ): Promise<T>;
}

const nameWidth = 12;

/**
 * Shows steps as they happen, a line each: the name when the step begins, what came of it when it ends. A note made
 * meanwhile gets a line of its own.
 */
export function createProgress(write: (text: string) => void): Progress {
  return {
    async step(name, run, tell = () => "done") {
      const label = `  ${name.padEnd(nameWidth)}`;
      const startedAt = performance.now();
      let open = true;
      write(label);
      try {
        const value = await run((text) => {
          write(open ? `${text} …\n` : `${label}${text} …\n`);
          open = false;
        });
        const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
        write(`${open ? "" : label}${tell(value)}  (${seconds} s)\n`);
        return value;
      } catch (error) {
        if (open) write("failed\n");
        throw error;
      }
    },
  };
}
