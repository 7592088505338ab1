/**
 * Which folder may import what. Deny by default: a zone lists what it may import, and a folder without a zone is a
 * fault.
 *
 * A linter's list of forbidden specifiers would not do: it sees names and not what they lead to, and it overlooks
 * `import()` and `import("x").T`.
 */
import { existsSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { join, posix } from "node:path";

interface Zone {
  /** Of the file's path below the root. The first zone that fits counts. */
  readonly files: RegExp;
  /** Prefixes of what may be imported: `node:`, `npm:`, or a path below the root; `*` is the file's own service or lib. */
  readonly may: readonly string[];
  /** Prefixes that are taken out again. */
  readonly not?: readonly string[];
  readonly because: string;
}

const wire = ["libs/gen/", "npm:@bufbuild/", "npm:@connectrpc/"];
const anything = ["node:", "npm:", "libs/", "services/", "contracts/", "test/"];

const zones: readonly Zone[] = [
  { files: /^test\/|^contracts\/|\.test\.ts$/, may: anything, because: "tests may import anything there is" },
  {
    files: /^services\/cli\/verify\//,
    may: [
      "node:",
      "npm:@bufbuild/protobuf",
      "services/cli/verify/",
      "libs/merkle/",
      "libs/gen/caseflow/event/",
    ],
    because: "the verifier trusts nobody: it reads events and trees, and shares no rule with the services",
  },
  {
    files: /^services\/cli\//,
    may: ["node:", "npm:", "services/cli/", "services/case/domain/", "libs/", "contracts/can-deploy.ts"],
    because:
      "the command is a consumer: it imports the case service's pure rules, and asks contracts one question",
  },
  {
    files: /^services\/local\/|^services\/[^/]+\/([^/]+|.*\bmain)\.ts$/,
    may: ["node:", "npm:", "services/*/", "libs/"],
    because: "a service never imports another service",
  },
  {
    files: /^services\/[^/]+\/domain\//,
    may: ["services/*/domain/"],
    because: "domain imports nothing outside its folder",
  },
  {
    files: /^services\/[^/]+\/store\//,
    may: [
      "node:",
      "npm:",
      "services/*/store/",
      "services/*/domain/",
      "libs/pg/",
      "libs/fault/",
      "libs/merkle/",
    ],
    not: wire,
    because: "store imports domain, libs/pg, libs/fault and libs/merkle, and no message types",
  },
  {
    files: /^services\/[^/]+\/application\//,
    may: ["node:", "npm:", "services/*/application/", "services/*/store/", "services/*/domain/", "libs/"],
    not: [...wire, "libs/rpc/", "libs/client/"],
    because: "application imports store, domain and libs, and nothing of the wire",
  },
  {
    files: /^services\/[^/]+\/rpc\//,
    may: [
      "node:",
      "npm:",
      "services/*/rpc/",
      "services/*/application/",
      "services/*/domain/",
      "services/*/relay/",
      "services/*/config.ts",
      "libs/",
    ],
    because: "rpc translates for application and relay, and reaches the store through them alone",
  },
  {
    files: /^services\/[^/]+\/relay\//,
    may: ["node:", "npm:", "services/*/relay/", "services/*/store/", "services/*/domain/", "libs/"],
    not: wire,
    because: "relay imports store, domain and libs; messages are for rpc and libs/client",
  },
  {
    files: /^services\/[^/]+\/signer\//,
    may: ["node:", "npm:", "services/*/signer/", "services/*/store/", "services/*/domain/", "libs/"],
    not: [...wire, "libs/rpc/", "libs/client/"],
    because: "signer imports store, domain and libs, and nothing of the wire",
  },
  {
    files: /^libs\/client\//,
    may: ["node:", "npm:", "libs/"],
    because: "libs import nothing of services and tests",
  },
  {
    files: /^libs\/(rpc|service|contracts)\//,
    may: ["node:", "npm:", "libs/"],
    not: ["libs/client/", "libs/gen/caseflow/cases/", "libs/gen/caseflow/audit/"],
    because: "a lib never names a service",
  },
  {
    files: /^libs\/merkle\//,
    may: ["node:crypto", "libs/merkle/"],
    because: "libs/merkle imports node:crypto and itself alone: whoever verifies must read no more than it",
  },
  {
    files: /^libs\/[^/]+\//,
    may: ["node:", "npm:", "libs/"],
    not: ["libs/client/", "libs/gen/"],
    because: "libs import nothing of services and tests, and message types stop at libs/rpc and libs/client",
  },
];

const folders = ["libs", "services", "contracts", "test"];

/** Checks every file of ours below `root`; returns a line a fault, `file:line: what it imports: the rule`. */
export async function findForbiddenImports(root: string): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const folder of folders.filter((name) => existsSync(join(root, name)))) {
    const names = await readdir(join(root, folder), { recursive: true });
    for (const name of names.toSorted()) {
      const path = posix.join(folder, name);
      if (!path.endsWith(".ts") || path.startsWith("libs/gen/")) continue;
      if (posix.basename(path) === "index.ts") faults.push(`${path}: a file is named after what it defines`);
      const text = await readFile(join(root, path), "utf8");
      for (const { specifier, line } of findImports(text)) {
        const fault = judge(path, specifier);
        if (fault !== undefined) faults.push(`${path}:${line}: ${specifier}: ${fault}`);
      }
    }
  }
  return faults;
}

/** The rule that `path` breaks by importing `specifier`; `undefined` when it may. */
export function judge(path: string, specifier: string): string | undefined {
  const zone = zones.find(({ files }) => files.test(path));
  if (!zone) return "no rule covers this folder: give it a zone in test/check/import-rules.ts";
  const unit = unitOf(path);
  const target = toTarget(path, specifier);
  if (target.startsWith("npm:.") || target.startsWith("npm:#")) return "leads nowhere we know";
  const isTest = zone.may === anything;
  if (!isTest && /^services\/.*\bmain\.ts$/.test(target)) return "main.ts is for starting, and for tests";
  if (target.endsWith("/index.ts")) return "an import names the file that defines the thing";
  if (/^\.\.?\//.test(specifier) && unitOf(target) !== unit)
    return "another folder is imported by its # name";
  if (specifier.startsWith("#") && unitOf(target) === unit) return "inside one folder imports are relative";
  const fits = (prefix: string) => target.startsWith(prefix.replace(/^(services|libs)\/\*/, unit));
  return zone.may.some(fits) && !zone.not?.some(fits) ? undefined : zone.because;
}

/** `services/case`, `libs/pg`, `test`: within it imports are relative, into it they go by `#` name. */
function unitOf(path: string): string {
  const [top = "", second = ""] = path.split("/");
  return top === "services" || top === "libs" ? `${top}/${second}` : top;
}

function toTarget(path: string, specifier: string): string {
  if (specifier.startsWith("node:")) return specifier;
  if (/^\.\.?\//.test(specifier)) return posix.join(posix.dirname(path), specifier);
  if (/^#(libs|services|contracts|test)\//.test(specifier)) return posix.normalize(specifier.slice(1));
  return `npm:${specifier}`;
}

const patterns = [
  /^(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm,
  /^import\s*["']([^"']+)["']/gm,
  /\b(?:import|require|import\.meta\.resolve)\(\s*["'`]([^"'`]+)["'`]/g,
];

/** Every import of a file, `import()`, types and re-exports among them; the files are formatted, so patterns will do. */
function findImports(text: string): { specifier: string; line: number }[] {
  return patterns.flatMap((pattern) =>
    Array.from(text.matchAll(pattern), (match) => ({
      specifier: match[1] ?? "",
      line: text.slice(0, match.index).split("\n").length,
    })),
  );
}
