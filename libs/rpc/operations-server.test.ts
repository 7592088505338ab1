import { once } from "node:events";
import { connect } from "node:net";

import { expect, test } from "vitest";

import { PortTakenError } from "./bind.ts";
import { listenForOperations } from "./operations-server.ts";
import { within } from "./serve-for-test.ts";

const options = {
  host: "127.0.0.1",
  port: 0,
  version: "1.2.3",
  commit: "abc",
  isStarted: () => true,
  isReady: () => true,
  metrics: async () => undefined,
};

test("each page tells one thing", async () => {
  const state = { started: false, ready: false };
  await using server = await listenForOperations({
    ...options,
    isStarted: () => state.started,
    isReady: () => state.ready,
  });
  const ask = async () =>
    Promise.all(
      ["livez", "startupz", "readyz"].map(async (page) => {
        const response = await fetch(`${server.url}/${page}`);
        return `${response.status} ${await response.text()}`;
      }),
    );
  expect(await ask()).toEqual(["200 ok", "503 not ready", "503 not ready"]);
  state.started = true;
  state.ready = true;
  expect(await ask()).toEqual(["200 ok", "200 ok", "200 ok"]);
  state.ready = false;
  expect(await ask()).toEqual(["200 ok", "200 ok", "503 not ready"]);
  expect(await (await fetch(`${server.url}/version`)).json()).toEqual({
    version: "1.2.3",
    commit: "abc",
    node: process.versions.node,
  });
});

test("metrics are given as Prometheus reads them, and are not found where nothing is measured", async () => {
  let metrics: string | undefined = "up 1\n";
  await using server = await listenForOperations({ ...options, metrics: async () => metrics });
  const answer = await fetch(`${server.url}/metrics`);
  expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(await answer.text()).toBe("up 1\n");
  metrics = undefined;
  expect((await fetch(`${server.url}/metrics`)).status).toBe(404);
});

test.each([
  ["GET", "/livez?verbose", 200],
  ["HEAD", "/livez", 200],
  ["POST", "/livez", 405],
  ["GET", "/", 404],
  ["GET", "/livez/", 404],
  ["GET", "/constructor", 404],
  ["GET", "/__proto__", 404],
])("%s %s is answered with %i", async (method, path, status) => {
  await using server = await listenForOperations(options);
  expect((await fetch(`${server.url}${path}`, { method })).status).toBe(status);
});

test("a page that throws is 500 and ends nothing", async () => {
  await using server = await listenForOperations({
    ...options,
    isReady() {
      throw new Error("secret");
    },
  });
  const response = await fetch(`${server.url}/readyz`);
  expect([response.status, await response.text()]).toEqual([500, "internal error"]);
  expect((await fetch(`${server.url}/livez`)).status).toBe(200);
});

test("rubbish, headers without an end and open connections do not keep it from closing", async () => {
  const server = await listenForOperations(options);
  const sockets = ["\0\0\0", "GET /livez HTTP/1.1\r\n", `GET /${"x".repeat(20_000)}`, ""].map((bytes) => {
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(bytes);
    return socket;
  });
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  expect((await fetch(`${server.url}/livez`)).status).toBe(200);
  const closed = sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve).resume()));
  await within(server[Symbol.asyncDispose](), "the end");
  await within(Promise.all(closed), "the connections' ends");
});

test("a port that is taken is told as such", async () => {
  await using server = await listenForOperations(options);
  await expect(listenForOperations({ ...options, port: server.port })).rejects.toThrow(PortTakenError);
});
