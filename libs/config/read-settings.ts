import type { Found, Setting } from "./setting.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Every fault of a configuration. The message has a line each, `NAME: what is wrong, what is allowed`. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join("\n"));
    this.faults = faults;
  }
}

/**
 * Reads all settings out of the environment, and returns them under the keys of `settings`, frozen.
 *
 * Throws one `ConfigError` with every fault. A variable that is empty or blank counts as not set.
 */
export function readSettings<T extends object>(
  env: Environment,
  settings: { readonly [K in keyof T]: Setting<T[K]> },
): Readonly<T> {
  const values: Partial<T> = {};
  const faults: string[] = [];
  for (const key of Object.keys(settings) as (keyof T)[]) {
    const found = settings[key](env);
    if (found.fault !== undefined) faults.push(found.fault);
    else values[key] = found.value;
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(values as T); // Each key has its value: a setting without one is a fault.
}

/** Several settings as one value. Its fault has a line for each of theirs. */
export function together<T extends object>(settings: {
  readonly [K in keyof T]: Setting<T[K]>;
}): Setting<Readonly<T>> {
  return (env): Found<Readonly<T>> => {
    try {
      return { value: readSettings<T>(env, settings) };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return { fault: error.message };
    }
  };
}
