/*
 * The kinds of settings. Each is named after its environment variable, and has to be set unless it has a fallback, which
 * may be `undefined`. A value that is set but wrong is a fault, never the fallback.
 *
 * Faults quote what was set, except where it may hold a secret: `url`, `urls`, `postgresUrl` and `secret` never do, and what is shown of them
 * is without it.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Environment } from "./read-settings.ts";

/** Reads one setting: its value, or what is wrong with it. */
export type Setting<T> = (env: Environment) => Found<T>;

export type Found<T> =
  | { readonly value: T; readonly fault?: undefined; readonly shown?: readonly ShownSetting[] }
  | { readonly value?: undefined; readonly fault: string };

/** What may be told of a setting: its value, without what its kind may hold of secrets. */
export interface ShownSetting {
  readonly name: string;
  /** `null`: there is none. */
  readonly value: string | number | boolean | readonly string[] | null;
  /** It was not set. */
  readonly isDefault: boolean;
}

interface Fallback<F> {
  readonly fallback?: F;
}

const quotedCharactersMax = 40;

/** Any text without surrounding blanks; with a `pattern`, one that matches it, and `allowed` says so in words. */
export function text<F extends string | undefined = never>(
  name: string,
  options: Fallback<F> & { readonly pattern?: RegExp; readonly allowed?: string } = {},
): Setting<string | F> {
  const { pattern, allowed = pattern?.source ?? "any text" } = options;
  return setting(name, options, allowed, (value) =>
    !pattern || pattern.test(value) ? { value } : quote(value),
  );
}

/** One of the given words. */
export function oneOf<const W extends string, F extends W | undefined = never>(
  name: string,
  words: readonly W[],
  options: Fallback<F> = {},
): Setting<W | F> {
  return setting(name, options, words.join(", "), (value) => {
    const word = words.find((candidate) => candidate === value);
    return word === undefined ? quote(value) : { value: word };
  });
}

/** `true` or `false`, also written `1` or `0`. */
export function flag<F extends boolean | undefined = never>(
  name: string,
  options: Fallback<F> = {},
): Setting<boolean | F> {
  return setting(name, options, "true or false", (value) => {
    if (/^(true|1)$/i.test(value)) return { value: true };
    return /^(false|0)$/i.test(value) ? { value: false } : quote(value);
  });
}

/** A whole number, both bounds included. */
export function wholeNumber<F extends number | undefined = never>(
  name: string,
  options: Fallback<F> & { readonly min: number; readonly max: number },
): Setting<number | F> {
  const { min, max } = options;
  return setting(name, options, `a whole number from ${min} to ${max}`, (value) => {
    const number = Number(value);
    return /^-?\d+$/.test(value) && number >= min && number <= max ? { value: number } : quote(value);
  });
}

/** A TCP port; 0 stands for any free one. */
export function port<F extends number | undefined = never>(
  name: string,
  options: Fallback<F> = {},
): Setting<number | F> {
  return wholeNumber(name, { ...options, min: 0, max: 65_535 });
}

/** Words separated by commas; with `of`, only those. Blank ones do not count. */
export function list<F extends readonly string[] | undefined = never>(
  name: string,
  options: Fallback<F> & { readonly of?: readonly string[] } = {},
): Setting<readonly string[] | F> {
  const { of } = options;
  const allowed = of ? `a comma-separated list of ${of.join(", ")}` : "a comma-separated list";
  return setting(name, options, allowed, (value) => {
    const words = value
      .split(",")
      .map((word) => word.trim())
      .filter((word) => word !== "");
    const stranger = of && words.find((word) => !of.includes(word));
    return stranger === undefined ? { value: words } : quote(stranger);
  });
}

/** An absolute URL with one of the `protocols` (such as `https:`), as it was written. It may hold a password. */
export function url<F extends string | undefined = never>(
  name: string,
  options: Fallback<F> & { readonly protocols: readonly string[] },
): Setting<string | F> {
  const { protocols } = options;
  return setting(
    name,
    options,
    `a URL that starts with ${protocols.map((p) => `${p}//`).join(" or ")}`,
    (value) => {
      const protocol = URL.parse(value)?.protocol;
      return protocol !== undefined && protocols.includes(protocol)
        ? { value, shown: hideSecrets(value) }
        : { wrong: "not such a URL" };
    },
  );
}

/** Absolute URLs separated by commas, at least one, each as `url` takes it. */
export function urls<F extends readonly string[] | undefined = never>(
  name: string,
  options: Fallback<F> & { readonly protocols: readonly string[] },
): Setting<readonly string[] | F> {
  const starts = options.protocols.map((p) => `${p}//`).join(" or ");
  return setting(name, options, `URLs that start with ${starts}, separated by commas`, (value) => {
    const all = value.split(",").map((one) => one.trim());
    const areGood = all.every((one) => options.protocols.includes(URL.parse(one)?.protocol ?? ""));
    return areGood ? { value: all, shown: all.map(hideSecrets) } : { wrong: "not such URLs" };
  });
}

/** A connection string of PostgreSQL, also in libpq's form for Unix sockets, which is no URL. It may hold a password. */
export function postgresUrl<F extends string | undefined = never>(
  name: string,
  options: Fallback<F> = {},
): Setting<string | F> {
  return setting(name, options, "postgresql://user@host:port/database", (value) =>
    /^postgres(ql)?:\/\/[^\s/]*\/[^\s/]+$/.test(value)
      ? { value, shown: hideSecrets(value) }
      : { wrong: "not a connection string" },
  );
}

/** A URL, or the path of a file (which is not looked at), as a URL either way. */
export function urlOrPath<F extends URL | undefined = never>(
  name: string,
  options: Fallback<F> & { readonly protocols: readonly string[] },
): Setting<URL | F> {
  const { protocols } = options;
  return setting(name, options, `a path, or a URL of ${["file:", ...protocols].join(", ")}`, (value) => {
    if (!/^[a-z][a-z0-9+.-]+:/i.test(value)) return { value: pathToFileURL(resolve(value)), shown: value };
    const parsed = URL.parse(value);
    return parsed && ["file:", ...protocols].includes(parsed.protocol)
      ? { value: parsed, shown: hideSecrets(value) }
      : { wrong: "not such a URL" };
  });
}

/** A secret: the variable's value, or the content of the file named by `NAME_FILE`, without surrounding blanks. */
export function secret<F extends string | undefined = never>(
  name: string,
  options: Fallback<F> & { readonly charactersMin?: number } = {},
): Setting<string | F> {
  const { charactersMin = 1 } = options;
  const allowed = `at least ${charactersMin} characters, here or in the file that ${name}_FILE names`;
  const read = setting(name, options, allowed, (value) =>
    value.length >= charactersMin ? { value, shown: hidden } : { wrong: `only ${value.length} characters` },
  );
  return (env) => {
    const path = readText(env, `${name}_FILE`);
    if (path === undefined) return read(env);
    if (readText(env, name) !== undefined)
      return { fault: `${name}: set, and ${name}_FILE too; allowed: one of them` };
    try {
      return read({ [name]: readFileSync(path, "utf8").trim() });
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
      return { fault: `${name}_FILE: cannot read ${path} (${code}); allowed: the path of a readable file` };
    }
  };
}

type Reading<T> =
  | {
      readonly value: T;
      /** What may be told in place of the value. */
      readonly shown?: string | readonly string[];
    }
  | { readonly wrong: string };

function setting<T, F>(
  name: string,
  options: Fallback<F>,
  allowed: string,
  read: (value: string) => Reading<T>,
): Setting<T | F> {
  return (env) => {
    const value = readText(env, name);
    if (value === undefined) {
      return "fallback" in options
        ? { value: options.fallback, shown: [{ name, value: toShown(options.fallback), isDefault: true }] }
        : { fault: `${name}: not set; allowed: ${allowed}` };
    }
    const reading = read(value);
    if ("wrong" in reading) return { fault: `${name}: ${reading.wrong}; allowed: ${allowed}` };
    const shown = reading.shown ?? toShown(reading.value);
    return { value: reading.value, shown: [{ name, value: shown, isDefault: false }] };
  };
}

const hidden = "[redacted]";

function toShown(value: unknown): ShownSetting["value"] {
  if (value === undefined) return null;
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  return Array.isArray(value) ? value.map(String) : hidden;
}

/**
 * A URL without what it lets in with: its password, its user unless it is a database's, and the values of its query, where either may
 * stand. The account ends at the last @ before the path, as URLs are read.
 */
function hideSecrets(value: string): string {
  return value
    .replace(/^(postgres(?:ql)?:\/\/[^/:@]*:)[^/]*(?=@)/i, `$1${hidden}`)
    .replace(/^((?!postgres)[a-z][a-z0-9+.-]*:\/\/)[^/]*(?=@)/i, `$1${hidden}`)
    .replaceAll(/([?&#](?:[^=&#]*=)?)[^&#]*/g, `$1${hidden}`);
}

function readText(env: Environment, name: string): string | undefined {
  return env[name]?.trim() || undefined;
}

function quote(value: string): { wrong: string } {
  const shown = value.length > quotedCharactersMax ? `${value.slice(0, quotedCharactersMax)}…` : value;
  return { wrong: `${JSON.stringify(shown)} will not do` };
}
