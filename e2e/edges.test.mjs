// The edges: what the HTTP side refuses, who may drive the control API, and overload.
// P1, P3, P6, P7, P8, M8, O1, O11, U5.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import net from "node:net";
import path from "node:path";
import { Platform, eventually, sleep } from "./platform.mjs";

test("ambiguous and malformed requests are refused, and their connection closed", async () => {
  const platform = await Platform.start();
  await platform.deployProbe("echo");
  const rows = [
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    "GET /v2 HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "GET /v2 HTTP/1.1\nHost: a\n\n",
    "GET /v2 HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET /v2 HTTP/1.1\r\n\r\n",
    "GET /v2/%2e%2e/api HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /v2//health HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
  ];
  for (const row of rows) {
    const answer = await platform.raw(row);
    assert.match(answer, /^HTTP\/1\.1 4\d\d /, JSON.stringify(row));
    assert.match(answer, /connection: close/i);
  }
  const call = (text) =>
    `POST /f/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n` +
    `Content-Length: ${text.length}\r\n\r\n${text}`;
  const socket = net.createConnection(platform.port, "127.0.0.1");
  socket.write(call("echo first") + call("echo second"));
  let both = "";
  socket.on("data", (part) => (both += part));
  await eventually("both answers", async () => /first[^]*second/.test(both));
  socket.destroy();
  const zipped = await platform.request("POST", "/f/echo", {
    body: "x",
    headers: { "content-encoding": "gzip", "content-type": "text/plain" },
  });
  assert.equal(zipped.status, 415);
  const deep = await platform.request("POST", "/api/v1/blobs/missing", {
    body: "[".repeat(100_000),
    headers: { "content-type": "application/json" },
  });
  assert.equal(deep.status, 400);
  await platform.stop();
});

test("no web page can drive the control API, and a key guards everything", async () => {
  const key = await new Platform().cliAlone("key", "new");
  const platform = new Platform();
  const file = path.join(platform.dir, "keys");
  const made = await platform.cliAlone("key", "new", "--file", file);
  assert.equal(made.code, 0, made.stderr);
  const secret = /dm_[\w-]+/.exec(made.stdout)[0];
  assert.doesNotMatch(readFileSync(file, "utf8"), new RegExp(secret));
  platform.options.args = ["--key-file", file];
  platform.options.env = { DORMOUSE_KEY: secret };
  await platform.serve();
  await platform.deployProbe("echo");
  const list = (headers) => platform.request("GET", "/api/v1/functions", { headers });
  assert.equal((await list({})).status, 401);
  assert.equal((await list({ "x-api-key": key.stdout.trim() })).status, 401);
  assert.equal((await list({ "x-api-key": secret })).status, 200);
  assert.equal((await list({ authorization: `Bearer ${secret}` })).status, 200);
  assert.equal((await list({ "x-api-key": secret, host: "evil.example" })).status, 403);
  assert.equal((await list({ "x-api-key": secret, origin: "http://evil.example" })).status, 403);
  assert.equal((await platform.invoke("echo", "echo x")).status, 401);
  const form = await platform.request("POST", "/api/v1/functions/echo/rollback", {
    body: "{}",
    headers: { "x-api-key": secret, "content-type": "text/plain" },
  });
  assert.equal(form.status, 415);
  await platform.stop();
});

test("digests are digests (M8), and an upload goes on where it stood", async () => {
  const platform = await Platform.start();
  const put = (target, body) =>
    platform.request("PUT", target, { body, headers: { "content-type": "application/octet-stream" } });
  for (const bad of ["sha256:..%2f..", `sha256:${"A".repeat(64)}`, "sha256:ab", `md5:${"a".repeat(64)}`]) {
    assert.equal((await put(`/api/v1/blobs/${bad}?offset=0`, "x")).status, 400, bad);
  }
  const content = Buffer.alloc(300_000, 7);
  const digest = "sha256:" + createHash("sha256").update(content).digest("hex");
  const first = await put(`/api/v1/blobs/${digest}?offset=0`, content.subarray(0, 100_000));
  assert.deepEqual(JSON.parse(first.text), { uploaded: 100_000 });
  await platform.kill("SIGKILL");
  await platform.serve();
  assert.equal((await put(`/api/v1/blobs/${digest}?offset=0`, content.subarray(0, 10))).status, 409);
  const last = await put(`/api/v1/blobs/${digest}?offset=100000&last=true`, content.subarray(100_000));
  assert.equal(last.status, 200, last.text);
  const wrong = "sha256:" + createHash("sha256").update("other").digest("hex");
  assert.equal((await put(`/api/v1/blobs/${wrong}?offset=0&last=true`, "not it")).status, 400);
  await platform.stop();
});

test("O1: beyond capacity calls are refused at once, and the rest is served", async () => {
  const platform = await Platform.start();
  await platform.deployProbe("busy", { max_instances: 1, concurrency: 4, queue: 16 });
  await platform.invoke("busy", "echo up");
  const seconds = process.env.DORMOUSE_NIGHTLY ? 15 : 5;
  const capacity = 4 / 0.02;
  const calls = [];
  const began = Date.now();
  for (let sent = 0; Date.now() - began < seconds * 1000; ) {
    const due = ((Date.now() - began) * capacity * 5) / 1000;
    for (; sent < due; ++sent) {
      const at = performance.now();
      calls.push(
        platform.invoke("busy", "sleep 20").then(({ status, headers }) => ({
          status,
          retry: headers["retry-after"],
          ms: performance.now() - at,
        })),
      );
    }
    await sleep(2);
  }
  const answers = await Promise.all(calls);
  const served = answers.filter(({ status }) => status === 200).length;
  const refused = answers.filter(({ status }) => status === 429 || status === 503);
  assert.equal(served + refused.length, answers.length);
  assert.ok(refused.length > 0);
  assert.ok(refused.every(({ retry }) => Number(retry) >= 1));
  assert.ok(served >= capacity * seconds * 0.7, `${served} of ${capacity * seconds} served`);
  await platform.stop();
});

test("O11: out of descriptors it refuses, does not spin, and recovers", async () => {
  const platform = await Platform.start({ prefix: ["prlimit", "--nofile=1100:1100"] });
  await platform.deployProbe("echo");
  const sockets = [];
  for (let i = 0; i < 1500; ++i) {
    const socket = net.createConnection(platform.port, "127.0.0.1");
    socket.on("error", () => {});
    sockets.push(socket);
  }
  await sleep(500);
  for (const socket of sockets) socket.destroy();
  await eventually("it answers again", async () => {
    const { text } = await platform.invoke("echo", "echo back").catch(() => ({}));
    return text === "back";
  });
  await platform.stop();
});

test("U5: a database from a newer version is refused and left as it was", async () => {
  const platform = await Platform.start();
  await platform.kill("SIGTERM");
  const file = path.join(platform.data, "dormouse.db");
  execFileSync("sqlite3", [file, "UPDATE schema_versions SET version = 99"]);
  const hash = () => createHash("sha256").update(readFileSync(file)).digest("hex");
  const before = hash();
  await assert.rejects(platform.serve(), /newer/);
  assert.equal(hash(), before);
  platform.remove();
});
