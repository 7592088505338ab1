import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { decodeJwt } from "jose";
import { expect, test } from "vitest";
import { createLocalIssuer } from "#libs/local-issuer/local-issuer.ts";

import { keepRelayToken } from "./relay-token.ts";

test("the relay's token is replaced long before it expires, and only its owner can read it", async () => {
  const home = await mkdtemp(join(tmpdir(), "relay-token-"));
  await using _folder = { [Symbol.asyncDispose]: () => rm(home, { recursive: true }) };
  const issuer = await createLocalIssuer(home, { issuer: "test", audience: "test" });
  const path = join(home, "relay-token");
  const expiresAt = async () => Number(decodeJwt(await readFile(path, "utf8")).exp);

  using _kept = await keepRelayToken(issuer, path, 6, (error) => expect.unreachable(String(error))); // Renewed every 0.5 s.

  const first = await expiresAt();
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(decodeJwt(await readFile(path, "utf8"))).toMatchObject({
    sub: "case-relay",
    kind: "service",
    roles: ["event_source"],
    sources: ["caseflow/case"],
  });
  await expect.poll(expiresAt, { timeout: 4_000 }).toBeGreaterThan(first);
});
