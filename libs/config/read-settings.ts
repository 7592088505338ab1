import type { Found, Setting, ShownSetting } from "./setting.ts";

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

type Settings<T extends object> = { readonly [K in keyof T]: Setting<T[K]> };

/**
 * Reads all settings out of the environment, and returns them under the keys of `settings`, frozen.
 *
 * Throws one `ConfigError` with every fault. A variable that is empty or blank counts as not set.
 */
export function readSettings<T extends object>(env: Environment, settings: Settings<T>): Readonly<T> {
  return read(env, settings).values;
}

/** The same, with what may be told of them as `settings`. */
export function readShownSettings<T extends object>(
  env: Environment,
  settings: Settings<T>,
): Readonly<T & { settings: readonly ShownSetting[] }> {
  const { values, shown } = read(env, settings);
  return Object.freeze({ ...values, settings: shown });
}

function read<T extends object>(
  env: Environment,
  settings: Settings<T>,
): { readonly values: Readonly<T>; readonly shown: readonly ShownSetting[] } {
  const values: Partial<T> = {};
  const faults: string[] = [];
  const shown: ShownSetting[] = [];
  for (const key of Object.keys(settings) as (keyof T)[]) {
    const found = settings[key](env);
    if (found.fault !== undefined) faults.push(found.fault);
    else {
      values[key] = found.value;
      shown.push(...(found.shown ?? []));
    }
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return { values: Object.freeze(values as T), shown }; // Each key has its value: a setting without one is a fault.
}

/** Several settings as one value. Its fault has a line for each of theirs. */
export function together<T extends object>(settings: {
  readonly [K in keyof T]: Setting<T[K]>;
}): Setting<Readonly<T>> {
  return (env): Found<Readonly<T>> => {
    try {
      const { values, shown } = read<T>(env, settings);
      return { value: values, shown };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return { fault: error.message };
    }
  };
}
