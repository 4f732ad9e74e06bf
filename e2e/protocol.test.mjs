// What the HTTP side refuses, and who may drive the control API. P1, P3, P6, P8 as smoke tests
// through the real daemon; the cases by class are http's own tests.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { Platform, eventually } from "./platform.mjs";

let platform;
before(async () => {
  platform = await Platform.start();
  await platform.deployProbe("echo", { concurrency: 4, max_body: "1MiB" });
});
after(() => platform.stop());

const status = (answer) => Number(/^HTTP\/1\.1 (\d+) /.exec(answer)?.[1]);
const post = (body, more = "") =>
  `POST /f/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n${more}` +
  `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

test("P1: ambiguous and malformed requests are refused, and their connection closed", async () => {
  const rows = [
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "0\r\n\r\n",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST /f/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "POST /f/echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /v2 HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "GET /v2 HTTP/1.1\nHost: a\n\n",
    "GET /v2 HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET /v2 HTTP/1.1\r\n\r\n",
    "GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /v2 HTTP/3.0\r\nHost: a\r\n\r\n",
    "GET  /v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "\x00\x01\x02\r\n\r\n",
  ];
  for (const row of rows) {
    const answer = await platform.raw(row);
    assert.ok(status(answer) >= 400 && status(answer) <= 505, `${JSON.stringify(row)}: ${answer}`);
    assert.match(answer, /connection: close/i, JSON.stringify(row));
  }
});

test("P3: nothing of the next request is seen by the one before it", async () => {
  const words = Array.from({ length: 20 }, (_, i) => `word-${i}-${"x".repeat(i * 997)}`);
  const socket = net.createConnection(platform.port, "127.0.0.1");
  socket.setNoDelay(true);
  let all = "";
  socket.on("data", (part) => (all += part));
  socket.write(words.map((word) => post(`echo ${word}`)).join(""));
  const bodies = () => all.split(/HTTP\/1\.1 200 OK\r\n[^]*?\r\n\r\n/).slice(1);
  await eventually("all answers", async () => bodies().join("").length === words.join("").length);
  assert.deepEqual(bodies(), words);
  // One byte at a time is one request too.
  all = "";
  for (const byte of post("echo slowly")) socket.write(byte);
  await eventually("the slow one's answer", async () => all.endsWith("slowly"));
  socket.destroy();
});

test("P6: what is compressed is refused, never unpacked", async () => {
  for (const coding of ["gzip", "br", "zstd", "gzip, gzip"]) {
    const { status } = await platform.request("POST", "/f/echo", {
      body: "x",
      headers: { "content-encoding": coding, "content-type": "text/plain" },
    });
    assert.equal(status, 415, coding);
  }
});

test("P8: one path means one thing, and what is too long is said to be", async () => {
  const get = (target, more = "") =>
    platform.raw(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${more}\r\n`);
  for (const target of [
    "/v2/%2e%2e/api",
    "/v2/../api/v1/functions",
    "/v2/./health",
    "/v2//health/live",
    "/f/%00",
    "/f/a%2Fb",
    "/f/echo/a%2Fb",
    "/f/echo;a",
    "/api/v1//functions",
    "/2015-03-31/functions/a;b/invocations",
    "/f\\echo",
    "/%",
    "/%zz",
    "/v2/\xc3\xa9",
  ]) {
    assert.equal(status(await get(target)), 400, target);
  }
  assert.equal(status(await get(`/${"a".repeat(9000)}`)), 414);
  assert.equal(status(await get("/v2", `X-Long: ${"a".repeat(40_000)}\r\n`)), 431);
  assert.equal(status(await get("/v2", "X-A: 1\r\n".repeat(5000))), 431);
  const large = await platform.raw(post("x".repeat((1 << 20) + 1)));
  assert.equal(status(large), 413);
  assert.equal(status(await platform.raw(post("echo fits", "Connection: close\r\n"))), 200);
});

test("no web page can drive the control API", async () => {
  const list = (headers) => platform.request("GET", "/api/v1/functions", { headers });
  assert.equal((await list({})).status, 200);
  assert.equal((await list({ host: `localhost:${platform.port}` })).status, 200);
  for (const wrong of [
    { host: "evil.example" },
    { host: `127.0.0.1.evil.example:${platform.port}` },
    { origin: "http://evil.example" },
    { origin: "null" },
    { origin: platform.url, host: `127.0.0.1:${platform.port}` }, // A page that a function serves.
    { "sec-fetch-site": "same-origin" },
  ]) {
    assert.equal((await list(wrong)).status, 403, JSON.stringify(wrong));
  }
  for (const type of [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "",
  ]) {
    const headers = type ? { "content-type": type } : {};
    const form = await platform.request("POST", "/api/v1/functions/echo/rollback", {
      body: "{}",
      headers,
    });
    assert.equal(form.status, 415, type);
  }
  assert.equal(
    (
      await platform.request("DELETE", "/api/v1/functions/echo", {
        headers: { origin: "http://evil.example" },
      })
    ).status,
    403,
  );
  assert.equal((await platform.invoke("echo", "echo there")).text, "there");
});

test("a key guards everything but health, and is kept as a digest only", async () => {
  const guarded = new Platform();
  const file = path.join(guarded.dir, "keys");
  const other = await guarded.cliAlone("key", "new");
  const made = await guarded.cliAlone("key", "new", "--file", file);
  assert.equal(made.code, 0, made.stderr);
  const secret = /dm_[\w-]+/.exec(made.stdout)[0];
  assert.ok(!readFileSync(file, "utf8").includes(secret));
  guarded.options.args = ["--key-file", file];
  guarded.options.env = { DORMOUSE_KEY: secret };
  await guarded.serve();
  await guarded.deployProbe("echo");
  const wrong = /dm_[\w-]+/.exec(other.stdout)[0];
  const ask = async (method, target, headers) =>
    (await guarded.request(method, target, { headers, body: method === "POST" ? "echo x" : "" }))
      .status;
  for (const [method, target] of [
    ["GET", "/api/v1/functions"],
    ["POST", "/f/echo"],
    ["GET", "/f/echo/a%2Fb"],
    ["GET", "/v2/models/echo"],
    ["GET", "/metrics"],
  ]) {
    const type = { "content-type": "text/plain" };
    assert.equal(await ask(method, target, type), 401, target);
    assert.equal(await ask(method, target, { ...type, "x-api-key": wrong }), 401, target);
    assert.equal(
      await ask(method, target, { ...type, "x-api-key": `${secret} ` + "x" }),
      401,
      target,
    );
    assert.notEqual(await ask(method, target, { ...type, "x-api-key": secret }), 401, target);
    assert.notEqual(await ask(method, target, { ...type, authorization: `Bearer ${secret}` }), 401);
  }
  assert.equal(await ask("GET", "/v2/health/live", {}), 200);
  assert.ok(!guarded.log.includes(secret));

  // The file is read again while it runs; one without a key opens nothing.
  const status = (key) => ask("GET", "/api/v1/functions", { "x-api-key": key });
  const { url } = guarded;
  const added = /dm_[\w-]+/.exec((await guarded.cliAlone("key", "new", "--file", file)).stdout)[0];
  guarded.url = url;
  await eventually("the new key opens it", async () => (await status(added)) === 200);
  assert.equal(await status(secret), 200);
  writeFileSync(file, readFileSync(file, "utf8").split("\n").slice(1).join("\n"));
  await eventually("the removed key is refused", async () => (await status(secret)) === 401);
  assert.equal(await status(added), 200);
  writeFileSync(file, "");
  process.kill(guarded.daemonPid(), "SIGHUP"); // Reads it as well, and ends nothing.
  await eventually("it says so", () => /the keys stay as they were/.test(guarded.log));
  assert.equal(await ask("GET", "/api/v1/functions", {}), 401);
  assert.equal(await status(added), 200);
  await guarded.stop();
});

test("without a key it listens on loopback only", async () => {
  const open = new Platform({ host: "0.0.0.0" });
  await assert.rejects(open.serve(), /key/);
  open.remove();
});
