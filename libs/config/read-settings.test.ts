import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, expectTypeOf, onTestFinished, test } from "vitest";
import { ConfigError, readSettings, readShownSettings, together } from "./read-settings.ts";
import {
  flag,
  list,
  oneOf,
  port,
  postgresUrl,
  secret,
  type Setting,
  text,
  url,
  urlOrPath,
  urls,
  wholeNumber,
} from "./setting.ts";

const protocols = ["postgresql:", "postgres:"];

test("settings are read by their kind, and the result is frozen and typed", () => {
  const env = {
    PORT: "0",
    MODE: "off",
    PAUSED: "TRUE",
    NAMES: " a, b ,,c",
    DATABASE: "postgresql://me:pw@%2Frun%2Fpg/db",
    LIMIT: "-3",
    BIND: " 0.0.0.0 ",
    BLANK: "  ",
  };

  const config = readSettings(env, {
    port: port("PORT", { fallback: 7080 }),
    mode: oneOf("MODE", ["on", "off"]),
    paused: flag("PAUSED", { fallback: false }),
    names: list("NAMES", { fallback: [] }),
    database: url("DATABASE", { protocols }),
    limit: wholeNumber("LIMIT", { min: -5, max: 5 }),
    bind: text("BIND", { fallback: "127.0.0.1" }),
    home: text("BLANK", { fallback: ".home" }),
    extra: text("EXTRA", { fallback: undefined }),
  });

  expect(config).toEqual({
    port: 0,
    mode: "off",
    paused: true,
    names: ["a", "b", "c"],
    database: env.DATABASE,
    limit: -3,
    bind: "0.0.0.0",
    home: ".home",
    extra: undefined,
  });
  expect(Object.isFrozen(config)).toBe(true);
  expectTypeOf(config.mode).toEqualTypeOf<"on" | "off">();
  expectTypeOf(config.port).toEqualTypeOf<number>();
  expectTypeOf(config.extra).toEqualTypeOf<string | undefined>();
});

test("all faults are reported at once, each with its name and what is allowed", () => {
  const env = {
    PORT: "65536",
    MODE: "maybe",
    PAUSED: "yes",
    DATABASE: "mysql://me:hunter2@host/db",
    NAMES: "a,z",
  };

  const read = () =>
    readSettings(env, {
      port: port("PORT", { fallback: 7080 }),
      mode: oneOf("MODE", ["on", "off"], { fallback: "on" }),
      paused: flag("PAUSED", { fallback: false }),
      names: list("NAMES", { of: ["a", "b"] }),
      database: url("DATABASE", { protocols }),
      missing: text("MISSING", { pattern: /^[a-z]+$/, allowed: "small letters" }),
    });

  expect(read).toThrow(ConfigError);
  expect(read).toThrow(
    [
      'PORT: "65536" will not do; allowed: a whole number from 0 to 65535',
      'MODE: "maybe" will not do; allowed: on, off',
      'PAUSED: "yes" will not do; allowed: true or false',
      'NAMES: "z" will not do; allowed: a comma-separated list of a, b',
      "DATABASE: not such a URL; allowed: a URL that starts with postgresql:// or postgres://",
      "MISSING: not set; allowed: small letters",
    ].join("\n"),
  );
});

test.each<[string, Setting<unknown>, string[]]>([
  ["a port", port("X"), ["-1", "65536", "80.5", "1e3", "0x50", "80a", "٣"]],
  ["a number", wholeNumber("X", { min: 1, max: 10 }), ["0", "11", "1.0", "Infinity", "NaN", "+1"]],
  ["a flag", flag("X"), ["2", "on", "truee"]],
  ["a URL", url("X", { protocols: ["https:"] }), ["example.com", "https:", "http://example.com", "/x"]],
  ["URLs", urls("X", { protocols: ["https:"] }), ["https://a,", ",", "https://a https://b", "https://a,b"]],
  [
    "a connection string",
    postgresUrl("X"),
    [
      "mysql://me@host/db",
      "host=x dbname=y",
      "postgresql://host",
      "postgresql://host/",
      "postgresql://h/d x",
    ],
  ],
  ["a URL or path", urlOrPath("X", { protocols: ["https:"] }), ["http://example.com", "https:"]],
  ["a text of a pattern", text("X", { pattern: /^[a-z]+$/ }), ["A", "a b", "a\nb"]],
])("%s takes nothing else", (_kind, setting, wrong) => {
  const found = wrong.map((value) => setting({ X: value }));

  expect(found).toEqual(wrong.map(() => ({ fault: expect.stringMatching(/^X: .+; allowed: .+/) })));
});

test.each([
  "postgresql://me:p%2Fw@host:5432/db",
  "postgres://me@%2Frun%2Fpg/db?sslmode=disable",
  "postgresql://me@/db?host=%2Frun%2Fpg&port=5432",
  "postgresql://[::1]:5432/db",
])("%s is a connection string", (value) => {
  expect(postgresUrl("X")({ X: value })).toMatchObject({ value });
});

test("URLs are one or more, with blanks around them or not", () => {
  const several = urls("X", { protocols: ["http:"] });
  expect(several({ X: "http://a:1" })).toMatchObject({ value: ["http://a:1"] });
  expect(several({ X: "http://a:1, http://b:2" })).toMatchObject({ value: ["http://a:1", "http://b:2"] });
});

test("a path and a URL both become a URL", () => {
  const jwks = urlOrPath("X", { protocols: ["https:"] });

  expect(jwks({ X: "keys/jwks.json" }).value).toEqual(pathToFileURL("keys/jwks.json"));
  expect(jwks({ X: "file:///etc/jwks.json" }).value?.href).toBe("file:///etc/jwks.json");
  expect(jwks({ X: "https://id.example/jwks" }).value?.href).toBe("https://id.example/jwks");
});

test("a secret comes from its variable or from a file, and no fault ever shows it", () => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "key");
  writeFileSync(file, "from the file\n");
  const key = secret("KEY", { charactersMin: 9 });

  expect(key({ KEY: "from here" })).toMatchObject({ value: "from here" });
  expect(key({ KEY_FILE: file })).toMatchObject({ value: "from the file" });
  expect(key({ KEY: "hunter2" })).toEqual({ fault: expect.stringContaining("KEY: only 7 characters") });
  expect(key({ KEY: "from here", KEY_FILE: file })).toEqual({
    fault: expect.stringContaining("KEY_FILE too"),
  });
  expect(key({ KEY_FILE: join(folder, "none") })).toEqual({ fault: expect.stringContaining("ENOENT") });
  expect(key({})).toEqual({ fault: expect.stringContaining("KEY: not set") });
  const faults = [
    postgresUrl("P")({ P: "postgres:hunter2" }),
    key({ KEY: "hunter2" }),
    url("U", { protocols })({ U: "http://me:hunter2@host" }),
  ];
  expect(JSON.stringify(faults)).not.toContain("hunter2");
});

test("what is shown of a setting is its value and whether it was set, and of kinds that may hold a secret only what holds none", () => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "key");
  writeFileSync(file, "hunter2");
  const env = {
    PORT: "80",
    NAMES: "a,b",
    DATABASE: "postgresql://me:hunter2@db:5432/cases?password=hunter2&sslmode=require",
    SOCKET: "postgres://me:p@hunter2@%2Frun%2Fpg/db",
    SIGNER: "postgresql://me:p?hunter2@db/audit",
    API: "https://hunter2@example.org/a?hunter2#hunter2",
    KEYS: "https://me:hunter2@example.org/jwks?key=hunter2",
    REPLICAS: "https://me:hunter2@a.example.org, https://b.example.org/?key=hunter2",
    FILE: "keys/jwks.json",
    TOKEN: "hunter2",
    KEY_FILE: file,
  };
  const http = { protocols: ["https:"] };

  const { settings } = readShownSettings(env, {
    port: port("PORT", { fallback: 7080 }),
    mode: oneOf("MODE", ["on", "off"], { fallback: "on" }),
    names: list("NAMES", { fallback: [] }),
    paused: flag("PAUSED", { fallback: undefined }),
    database: url("DATABASE", { protocols }),
    socket: postgresUrl("SOCKET"),
    inner: together({ signer: postgresUrl("SIGNER"), api: url("API", http) }),
    keys: urlOrPath("KEYS", http),
    replicas: urls("REPLICAS", http),
    file: urlOrPath("FILE", http),
    token: secret("TOKEN"),
    key: secret("KEY"),
  });

  expect(settings).toEqual([
    { name: "PORT", value: 80, isDefault: false },
    { name: "MODE", value: "on", isDefault: true },
    { name: "NAMES", value: ["a", "b"], isDefault: false },
    { name: "PAUSED", value: null, isDefault: true },
    {
      name: "DATABASE",
      value: "postgresql://me:[redacted]@db:5432/cases?password=[redacted]&sslmode=[redacted]",
      isDefault: false,
    },
    { name: "SOCKET", value: "postgres://me:[redacted]@%2Frun%2Fpg/db", isDefault: false },
    { name: "SIGNER", value: "postgresql://me:[redacted]@db/audit", isDefault: false },
    { name: "API", value: "https://[redacted]@example.org/a?[redacted]#[redacted]", isDefault: false },
    { name: "KEYS", value: "https://[redacted]@example.org/jwks?key=[redacted]", isDefault: false },
    {
      name: "REPLICAS",
      value: ["https://[redacted]@a.example.org", "https://b.example.org/?key=[redacted]"],
      isDefault: false,
    },
    { name: "FILE", value: "keys/jwks.json", isDefault: false },
    { name: "TOKEN", value: "[redacted]", isDefault: false },
    { name: "KEY", value: "[redacted]", isDefault: false },
  ]);
});
