import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { decodeJwt } from "jose";
import { expect, test } from "vitest";

import { createLocalIssuer, defaultIssuerNames } from "#libs/local-issuer/local-issuer.ts";

import { commandInProcess } from "./support/command-in-process.ts";
import { root, run } from "./support/local-stack.ts";

test("the token carries every claim that was asked for, and nothing else is printed", async () => {
  await using home = await openHome();
  const { exitCode, output } = await home.caseflow(
    ...["token", "--tenant", "harbour-city", "--sub", "portal-1", "--roles", "reviewer,caseworker"],
    ...["--kind", "service", "--sources", "a/b,c", "--on-behalf-of", "ada", "--expires-in", "15m"],
  );
  expect(output).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  expect(exitCode).toBe(0);
  const { exp = 0, iat = 0, ...claims } = decodeJwt(output.trim());
  expect(exp - iat).toBe(15 * 60);
  expect(claims).toEqual({
    iss: "caseflow-local",
    aud: "caseflow",
    sub: "portal-1",
    tenant_id: "harbour-city",
    roles: ["reviewer", "caseworker"],
    kind: "service",
    sources: ["a/b", "c"],
    act: { sub: "ada" },
  });
});

test("a token is a person's, for an hour, unless told otherwise, and --json wraps it", async () => {
  await using home = await openHome();
  const { output } = await home.caseflow("token", "--sub", "ada", "--roles", "auditor", "--json");
  const { token }: { token: string } = JSON.parse(output);
  const { exp = 0, iat = 0, kind } = decodeJwt(token);
  expect({ kind, seconds: exp - iat }).toEqual({ kind: "person", seconds: 3_600 });
});

test.each([
  ["--roles", "wizard", /There is no role wizard/],
  ["--tenant", "Harbour City", /A tenant is/],
  ["--kind", "ghost", /person or service/],
  ["--expires-in", "31d", /at most 30d/],
  ["--expires-in", "soon", /a count and a unit/],
  ["--wrong", "x", /unknown option '--wrong'/],
])("%s %s is not understood, and exits 2", async (option, value, told) => {
  await using home = await openHome();
  const { exitCode, output } = await home.caseflow(
    "token",
    "--sub",
    "ada",
    "--roles",
    "auditor",
    option,
    value,
  );
  expect(output).toMatch(told);
  expect(exitCode).toBe(2);
});

test.each([
  ["unless told otherwise", []],
  ["of kind person", ["--kind", "person"]],
])("a token %s acts for nobody else: no service would take it, and the command exits 2", async (_, kind) => {
  await using home = await openHome();
  const who = ["--sub", "ada", "--roles", "reviewer", "--on-behalf-of", "grace"];
  const { exitCode, output } = await home.caseflow("token", ...who, ...kind);
  expect(output).toMatch(/^error: --on-behalf-of is for programs, .*--kind service/);
  expect(output).not.toMatch(/[\w-]+\.[\w-]+\.[\w-]+/);
  expect(exitCode).toBe(2);
});

test("without an issuer's key the command says how to get one, and exits 1", async () => {
  await using home = await openHome();
  await rm(join(home.path, "issuer-key.json"));
  const args = ["token", "--sub", "ada", "--roles", "auditor"];
  await using running = run(join(root, "services/cli/main.ts"), args, { home: home.path });
  expect(await running.ended).toBe(1);
  expect(running.output()).toBe(
    `caseflow: there is no local issuer below ${home.path}: npm start makes one (CASEFLOW_HOME names the folder)\n`,
  );
});

test.each([["token"], ["case", "show"], ["explain"], ["import"], ["export"], ["migrate"]])(
  "the help of %s has examples, and exits 0",
  async (...words) => {
    await using home = await openHome();
    const { exitCode, output } = await home.caseflow(...words, "--help");
    expect(output).toMatch(/Examples:\n {2}\S*caseflow/);
    expect(exitCode).toBe(0);
  },
);

test("npx finds the command and its Node, whatever Node runs npx", async () => {
  await using home = await openHome();
  const path = (process.env["PATH"] ?? "").split(":").filter((folder) => !folder.includes("node_modules"));
  const args = ["caseflow", "token", "--sub", "ada", "--roles", "auditor"];
  await using npx = run("npx", args, { home: home.path, env: { PATH: path.join(":") } });
  expect(await npx.ended, npx.output()).toBe(0);
  expect(npx.output().trim().split("\n").at(-1)).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
});

async function openHome() {
  const path = await mkdtemp(join(tmpdir(), "caseflow-cli-"));
  await createLocalIssuer(path, defaultIssuerNames);
  return {
    path,
    async caseflow(...args: string[]) {
      const { exit, stdout, stderr } = await commandInProcess(args, { CASEFLOW_HOME: path });
      return { exitCode: exit, output: stderr + stdout };
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}
