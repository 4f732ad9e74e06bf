// HTTP servers as functions: any method and path, bodies both ways as they come, WebSockets.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import { gzipSync } from "node:zlib";
import { createConnection } from "node:net";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, promptly, repository, sleep } from "./platform.mjs";

let platform, stalled;
before(async () => {
  platform = await Platform.start();
  await deploy("stalled");
  stalled = stall("/f/stalled/x");  // It takes ten seconds, beside the other tests.
});
after(() => platform.stop());

// Tells what it was asked, counts what it saw, and has a path for each thing that a server may do.
const server = `
import { createServer } from "node:http";
let seen = 0;
const app = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://here");
  const wants = pathname.split("/").pop();
  if (wants === "count") return response.end(String(seen));
  ++seen;
  if (wants === "crash") process.exit(3);
  if (wants === "hang") return;
  if (wants === "cut") return request.socket.end("HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nfive!");
  if (wants === "close") return request.socket.end("HTTP/1.1 200 OK\\r\\n\\r\\nuntil the end");
  if (wants === "twice") return request.socket.end("HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n");
  if (wants === "unchunked") return request.socket.end("HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nhello\\r\\n");
  if (wants === "spoof") return response.setHeader("Dormouse-Cost", "0").setHeader("Set-Cookie", ["a=1", "b=2"]).end("x");
  if (wants === "sleep") return setTimeout(() => response.end("slept"), Number(searchParams.get("ms")));
  if (wants === "big") {
    const bytes = Number(searchParams.get("bytes"));
    return response.setHeader("Content-Length", bytes).end(Buffer.alloc(bytes, "x"));
  }
  if (wants === "none") return response.writeHead(204).end();
  if (wants === "late") return response.flushHeaders();
  if (wants === "early") return response.end("enough");
  if (wants === "back") return request.pipe(response);
  const body = [];
  try {
    for await (const part of request) body.push(part);
  } catch {
    return;  // Its client, or whoever passes it on, has gone.
  }
  const { K_SERVICE, K_REVISION, K_CONFIGURATION, PORT } = process.env;
  response.setHeader("Content-Type", "application/json").end(JSON.stringify({
    method: request.method, url: request.url, headers: request.headers,
    body: Buffer.concat(body).toString(), env: { K_SERVICE, K_REVISION, K_CONFIGURATION, PORT } }));
});
app.on("upgrade", (request, socket) => socket.end("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: other\\r\\n\\r\\n"));
app.listen(process.env.PORT);
process.on("SIGTERM", () => process.exit(0));
`;

async function deploy(name, more = {}, code = server) {
  const manifest = { name, runtime: "web", command: ["node", "app.mjs"], memory: "256MiB", concurrency: 50, ...more };
  const done = await platform.deploy(manifest, { "app.mjs": code });
  assert.equal(done.code, 0, done.stderr);
}

const get = (target, headers = {}) => platform.request("GET", target, { headers });
const receipt = async (id) => JSON.parse((await get(`/api/v1/invocations/${id}`)).text).receipts[0];

test("any method and path goes to the program, with the container contract in its environment", async () => {
  await deploy("app");
  for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    const body = ["POST", "PUT", "PATCH"].includes(method) ? "häl%00lo" : undefined;
    const answer = await platform.request(method, "/f/app/a%20b/ü?q=1&q=%2F".replace("ü", "%C3%BC"), { body, headers: { "x-own": "1" } });
    assert.equal(answer.status, 200, answer.text);
    const said = JSON.parse(answer.text);
    assert.equal(said.method, method);
    assert.equal(said.url, "/a%20b/%C3%BC?q=1&q=%2F");
    assert.equal(said.body, body ?? "");
    assert.equal(said.headers["x-own"], "1");
    assert.equal(said.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(said.headers["x-forwarded-prefix"], "/f/app");
    assert.equal(said.headers["x-forwarded-host"], `127.0.0.1:${platform.port}`);
    assert.equal(said.headers["dormouse-invocation"], answer.headers["dormouse-invocation"]);
    assert.deepEqual(said.env, { K_SERVICE: "app", K_REVISION: "app-00001", K_CONFIGURATION: "app", PORT: "8080" });
  }
  const root = JSON.parse((await platform.invoke("app", "x")).text);
  assert.deepEqual([root.method, root.url], ["POST", "/"]);
  const none = await get("/f/app/none");
  assert.deepEqual([none.status, none.text], [204, ""]);
  const head = await platform.request("HEAD", "/f/app/big?bytes=70000");
  assert.deepEqual([head.status, head.headers["content-length"], head.text], [200, "70000", ""]);
});

// What the program was told of a request that begins with these lines.
async function told(...lines) {
  const answer = await platform.raw(lines.concat("Connection: close", "", "").join("\r\n"));
  assert.match(answer, /^HTTP\/1\.1 200 /, answer);
  return JSON.parse(/{.*}/s.exec(answer)[0]);
}

test("whom a request is from is told as the ones in front of us have it, and cannot be taken away", async () => {
  const several = await told("GET /f/app/x HTTP/1.1", "Host: x", "X-Forwarded-For: 6.6.6.6", "x-forwarded-for:", "X-Forwarded-For: 203.0.113.7");
  assert.equal(several.headers["x-forwarded-for"], "6.6.6.6, 203.0.113.7, 127.0.0.1");
  const empty = await told("GET /f/app/x HTTP/1.1", "Host: x", "X-Forwarded-For:", "X-Forwarded-Host:", "X-Forwarded-Proto: ");
  assert.equal(empty.headers["x-forwarded-for"], "127.0.0.1");
  assert.equal(empty.headers["x-forwarded-host"], "x");
  assert.equal(empty.headers["x-forwarded-proto"], "http");
  const behind = await told("GET /f/app/x HTTP/1.1", "Host: x", "X-Forwarded-Proto:", "X-Forwarded-Proto: https");
  assert.equal(behind.headers["x-forwarded-proto"], "https");
  const { headers } = await told("GET /f/app/x HTTP/1.1", "Host: x", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Host: shop.example",
    "X-Real-IP: 203.0.113.7", "Authorization: Basic b3duOm93bg==", "X-Own: 1",
    "Connection: host, X-Forwarded-For, X-Forwarded-Host, x-real-ip, authorization, dormouse-invocation, X-Forwarded-Prefix, x-own");
  assert.equal(headers.host, "x");
  assert.equal(headers["x-forwarded-for"], "203.0.113.7, 127.0.0.1");
  assert.equal(headers["x-forwarded-host"], "shop.example");
  assert.equal(headers["x-forwarded-prefix"], "/f/app");
  assert.equal(headers["x-real-ip"], "203.0.113.7");
  assert.equal(headers.authorization, "Basic b3duOm93bg==");
  assert.ok(headers["dormouse-invocation"]);
  assert.equal(headers["x-own"], undefined);
  const old = await told("GET /f/app/x HTTP/1.0");
  assert.deepEqual([old.headers.host, old.headers["x-forwarded-host"]], ["localhost", "localhost"]);
});

test("a path reaches the program as it was written, and none that leads up does", async () => {
  const paths = ["/a%2Cb%3D1%26c", "/%7e%41", "/%c3%bc%C3%BC", "/c?", "/c??a=/f/app/x", "/%3f%23?", "/", "/.a/..b/%2ea", "/x?%2e%2e//",
    "/@scope%2Fname", "/a%2f", "/a%5Cb", "/a^b", "/a;b=c/%3b", "/100%25", "/%2541", "/[id]/a|b", "/of/https://host//", "/a//"];
  for (const each of paths) {
    assert.equal((await told(`GET /f/app${each} HTTP/1.1`, "Host: x")).url, each);
    assert.equal((await told(`GET ${each} HTTP/1.1`, "Host: app.localhost")).url, each);
    assert.equal((await told(`GET http://app.localhost${each} HTTP/1.1`, "Host: app.localhost")).url, each);
  }
  for (const [asked, url] of [["/%66/%61pp/%41", "/%41"], ["/f/app?", "/?"], ["/f/app?a=/b", "/?a=/b"], ["/f/app", "/"]]) {
    assert.equal((await told(`GET ${asked} HTTP/1.1`, "Host: x")).url, url);
  }
  const refused = ["%2e%2e/x", ".%2e", "%2E", "a/%2e/b", "..%2Fb", "a%5c..", "..;/b", "a/..%3bb", "a/..%3fx", "a/..%2523", "..%2500", "%2Fhost", "%5chost", "%00", "%0d%0aX:1", "%7f", "%c3", "%c0%ae", "%252e", "%25252e%252e", "%zz", "/x"];
  for (const each of refused) {
    for (const [path, host] of [[`/f/app/${each}`, "x"], [`/${each}`, "app.localhost"]]) {
      assert.match(await platform.raw(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`), /^HTTP\/1\.1 400 /, path);
    }
  }
});

test("a path that is the program's to read changes no other refusal", async () => {
  const long = "POST /f/app/a;b HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
  assert.match(await platform.raw(long), /^HTTP\/1\.1 413 /);
  assert.match(await platform.raw("GET /f/nobody/a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n"), /^HTTP\/1\.1 400 /);
});

test("it is reached by its host name, where its paths are its own", async () => {
  const answer = await get("/api/v1/functions?x", { host: `app.localhost:${platform.port}` });
  const said = JSON.parse(answer.text);
  assert.equal(said.url, "/api/v1/functions?x");
  assert.equal(said.headers.host, `app.localhost:${platform.port}`);
  assert.equal(said.headers["x-forwarded-prefix"], undefined);
  assert.equal((await get("/", { host: "nobody.localhost" })).status, 404);
});

test("what it answers comes as it is, and what we say of the call cannot be said by it", async () => {
  const spoof = await get("/f/app/spoof");
  assert.deepEqual(spoof.headers["set-cookie"], ["a=1", "b=2"]);
  assert.notEqual(spoof.headers["dormouse-cost"], "0");
  const closed = await get("/f/app/close");
  assert.deepEqual([closed.status, closed.text], [200, "until the end"]);
  for (const bytes of [10, 60_000, 70_000, 5_000_000]) {
    const big = await get(`/f/app/big?bytes=${bytes}`);
    assert.equal(big.body.length, bytes);
    const { response_bytes, outcome } = await receipt(big.headers["dormouse-invocation"]);
    assert.deepEqual([response_bytes, outcome], [bytes, "answered"]);
  }
});

test("bodies go both ways as they come", async () => {
  const request = http.request({ port: platform.port, method: "POST", path: "/f/app/back", agent: false });
  const parts = [];
  const answered = new Promise((resolve) => request.on("response", resolve));
  request.write("one");
  const response = await answered;  // Before the request has ended.
  response.on("data", (part) => parts.push(part.toString()));
  await eventually("the first piece", () => parts.length === 1);
  request.write("two");
  await eventually("the second piece", () => parts.length === 2);
  request.end("three");
  await new Promise((resolve) => response.on("end", resolve));
  assert.equal(parts.join(""), "onetwothree");
  assert.equal((await receipt(response.headers["dormouse-invocation"])).request_bytes, 11);

  const large = randomBytes(6 << 20);
  const echoed = await platform.request("POST", "/f/app/back", { body: large });
  assert.ok(echoed.body.equals(large));
});

// What is left of the first body must not be read as the beginning of another request.
test("a connection whose request was not sent whole is not used again", async () => {
  await deploy("hasty", { concurrency: 5, max_instances: 1 });
  await get("/f/hasty/x");
  const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
  for (let i = 0; i < 5; ++i) {
    const first = await platform.raw("POST /f/hasty/early HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n12345", 300);
    assert.match(first, /^HTTP\/1\.1 200 /);
    const second = await platform.request("POST", "/f/hasty/x", { body: "x".repeat(35) + hidden });
    assert.equal(JSON.parse(second.text).url, "/x", second.text);
    assert.equal(JSON.parse(second.text).body, "x".repeat(35) + hidden);
  }
});

test("a head goes out before there is any body", async () => {
  const { headers } = await new Promise((resolve, reject) => {
    const request = http.get({ port: platform.port, path: "/f/app/late", agent: false }, (response) => {
      resolve(response);
      response.on("error", () => {});
      request.destroy();
    });
    request.on("error", reject);
  });
  assert.ok(headers["dormouse-invocation"]);
});

test("a body over max_body is refused, whether it says so or not", async () => {
  await deploy("small", { max_body: "10KiB" });
  const body = Buffer.alloc(20_000, "x");
  const long = await platform.request("POST", "/f/small/x", { body });
  assert.equal(long.status, 413);
  assert.match(long.text, /more than the 10240 bytes that \\"small\\" takes; `max_body` in its manifest sets that/);
  const chunked = await platform.request("POST", "/f/small/x", { body, headers: { "transfer-encoding": "chunked" } });
  assert.equal(chunked.status, 413);
  assert.match(chunked.text, /at most 10240 bytes/);
  assert.equal((await platform.request("POST", "/f/small/x", { body: "y" })).status, 200);
});

test("the command line calls it by path and method, and shows its own errors", async () => {
  await deploy("called");
  const got = JSON.parse((await platform.cli("invoke", "called", "--path", "/a?b=c")).stdout);
  assert.deepEqual([got.method, got.url, got.body], ["GET", "/a?b=c", ""]);
  const put = await platform.cli("invoke", "called", "--path", "/a", "-X", "PUT", "{}");
  assert.deepEqual(JSON.parse(put.stdout).method, "PUT");
  assert.equal(JSON.parse(put.stdout).body, "{}");
  await deploy("strict", {}, `
    import { createServer } from "node:http";
    createServer((request, response) => response.writeHead(404).end("no page here")).listen(process.env.PORT);
  `);
  const gone = await platform.cli("invoke", "strict", "--path", "/x");
  assert.deepEqual([gone.code, gone.stdout], [1, "no page here"]);
  assert.match(gone.stderr, /strict answered 404/);
  assert.equal((await platform.cli("invoke", "nobody", "--path", "/x")).code, 5);
});

// What is answered to a request whose body stops in its midst.
async function stall(target) {
  const socket = createConnection(platform.port, "127.0.0.1");
  socket.write(`POST ${target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun`);
  let said = "";
  for await (const part of socket) said += part;
  return said;
}

// A WebSocket client, as far as the test needs one.
async function webSocket(target, protocols = "websocket", host = "x") {
  const socket = createConnection(platform.port, "127.0.0.1");
  const key = randomBytes(16).toString("base64");
  socket.write(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: ${protocols}\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`);
  let received = Buffer.alloc(0);
  let closed = false;
  socket.on("data", (part) => (received = Buffer.concat([received, part])));
  socket.on("error", () => {});
  socket.on("close", () => (closed = true));
  const until = (what, done) => eventually(what, () => done(received) || closed);
  await until("a head", (bytes) => bytes.includes("\r\n\r\n"));
  const head = received.subarray(0, received.indexOf("\r\n\r\n")).toString();
  received = received.subarray(received.indexOf("\r\n\r\n") + 4);
  const accept = createHash("sha1").update(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  return {
    head, accept, socket, isClosed: () => closed,
    send(text, opcode = 1, last = 128) {
      const payload = Buffer.from(text);
      const mask = randomBytes(4);
      socket.write(Buffer.concat([Buffer.from([last | opcode, 128 | payload.length]), mask, payload.map((b, i) => b ^ mask[i % 4])]));
    },
    async next() {
      await until("a frame", (bytes) => bytes.length >= 2 && bytes.length >= 2 + bytes[1]);
      const frame = received.subarray(2, 2 + received[1]);
      received = received.subarray(2 + received[1]);
      return frame.toString();
    },
    async closedWith() {
      await eventually("closed", () => closed);
      return [received[0] & 15, received.readUInt16BE(2)];
    },
  };
}

test("a WebSocket stays open, and its receipt is one of a call that ended well", async () => {
  const done = await platform.cli("deploy", path.join(repository, "examples/web-socket"));
  assert.equal(done.code, 0, done.stderr);
  const page = await get("/f/web-socket/");
  assert.match(page.text, /<title>web-socket<\/title>/);
  const it = await webSocket("/f/web-socket/echo");
  assert.match(it.head, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
  assert.ok(it.head.includes(`Sec-WebSocket-Accept: ${it.accept}`), it.head);
  for (const text of ["hello", "ünïcode", "x".repeat(120)]) {
    it.send(text);
    assert.equal(await it.next(), text);
  }
  await sleep(300);  // Nothing said is no reason to close.
  it.send("still there");
  assert.equal(await it.next(), "still there");
  it.send("", 8);
  await eventually("closed", it.isClosed);
  const id = /Dormouse-Invocation: (\S+)/.exec(it.head)[1];
  await eventually("a receipt", async () => (await get(`/api/v1/invocations/${id}`)).status === 200);
  const { outcome, run_ms } = await receipt(id);
  assert.equal(outcome, "answered");
  assert.ok(run_ms >= 300);
});

test("the example is a WebSocket's server, by its host name too: fragments, and what is no frame of a client", async () => {
  const open = () => webSocket("/echo", "websocket", "web-socket.localhost");
  const it = await open();
  it.send("frag", 1, 0);
  it.send("between", 9);
  it.send("mented", 0);
  assert.deepEqual([await it.next(), await it.next()], ["between", "fragmented"]);
  it.send("goes on with nothing", 0);
  assert.deepEqual(await it.closedWith(), [8, 1002]);
  for (const [bytes, code] of [[[0x81, 1, 65], 1002], [[0xc1, 0x81, 0, 0, 0, 0, 65], 1002], [[0x09, 0x80, 0, 0, 0, 0], 1002], [[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1009]]) {
    const other = await open();
    other.socket.write(Buffer.from(bytes));
    assert.deepEqual(await other.closedWith(), [8, code]);
  }
});

test("events come as the program sends them, and who leaves ends his call", async () => {
  const running = async () => (await platform.status("web-socket")).running;
  await eventually("nobody is there", async () => (await running()) === 0);
  const began = performance.now();
  const events = await fetch(`${platform.url}/f/web-socket/clock`);
  assert.equal(events.headers.get("content-type"), "text/event-stream");
  const reader = events.body.getReader();
  const times = [];
  for (let i = 0; i < 2; ++i) {
    assert.match(Buffer.from((await reader.read()).value).toString(), /^data: \d{4}-\d\d-\d\dT.*Z\n\n$/);
    times.push(performance.now() - began);
  }
  assert.ok(times[1] - times[0] >= 500, `${times}`);  // A second apart: none waited for the next.
  assert.equal(await running(), 1);
  await reader.cancel();
  await eventually("his slot is free", async () => (await running()) === 0);
});

test("an encoded body reaches the program as it is", async () => {
  const body = gzipSync("hello");
  const answer = await platform.request("POST", "/f/app/x", { body, headers: { "content-encoding": "gzip" } });
  const said = JSON.parse(answer.text);
  assert.equal(said.headers["content-encoding"], "gzip");
  assert.equal(said.headers["content-length"], String(body.length));
});

test("a WebSocket may be one of several protocols that are asked for, and another is not gone on with", async () => {
  for (const protocols of ["websocket, foo", "foo/2,WebSocket"]) {
    const it = await webSocket("/f/web-socket/echo", protocols);
    assert.match(it.head, /^HTTP\/1\.1 101 /);
    it.send("hello");
    assert.equal(await it.next(), "hello");
    it.socket.destroy();
  }
  const other = await webSocket("/f/app/x", "websocket, other");
  assert.match(other.head, /^HTTP\/1\.1 502 /);
  other.socket.destroy();
});

test("no other protocol is let through, and an upgrade that nobody asked for is not passed on", async () => {
  const h2c = await platform.raw("GET /f/app/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n");
  const said = JSON.parse(h2c.slice(h2c.indexOf("\r\n\r\n") + 4));
  for (const name of ["upgrade", "http2-settings"]) assert.equal(said.headers[name], undefined);
  assert.notEqual(said.headers.connection, "Upgrade");
});

test("it sleeps, wakes, and serves many calls in one instance", async () => {
  await deploy("sleepy", { keep_alive: "0ms", max_instances: 1 });
  const answers = await Promise.all(Array.from({ length: 20 }, () => get("/f/sleepy/sleep?ms=100")));
  assert.ok(answers.every(({ text }) => text === "slept"));
  await eventually("asleep", async () => {
    const { instances } = await platform.status("sleepy");
    return Object.values(instances).every((count) => count === 0);
  });
  const woken = await get("/f/sleepy/x");
  assert.equal(woken.status, 200);
  assert.match(woken.headers["server-timing"], /wake-load/);
});

test("a program that dies, hangs, lies or cuts its answer off gets its reasoned answer", async () => {
  await deploy("bad", { timeout: "3s", max_instances: 2 });
  const failed = async (target) => {
    const answer = await get(target);
    const { error } = JSON.parse(answer.text);
    return [answer.status, error.message];
  };
  const [status, message] = await failed("/f/bad/crash");
  assert.equal(status, 502);
  assert.match(message, /exited with status 3/);
  assert.deepEqual(await failed("/f/bad/hang"), [504, "the function ran past its timeout"]);
  const [lied, why] = await failed("/f/bad/twice");
  assert.equal(lied, 502);
  assert.match(why, /framed twice/);
  assert.deepEqual((await failed("/f/bad/unchunked"))[0], 502);
  const cut = await platform.raw("GET /f/bad/cut HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(cut, /Content-Length: 10/);
  assert.ok(cut.endsWith("five!"));
  assert.equal((await get("/f/bad/x")).status, 200);
});

test("a client that hangs up frees its slot at once", async () => {
  await deploy("one", { concurrency: 1, max_instances: 1, timeout: "30s" });
  await get("/f/one/x");
  const running = async () => (await platform.status("one")).running;
  await promptly("its slot is free", 200, async () => {
    const leaving = new AbortController();
    const left = platform.request("GET", "/f/one/hang", { agent: new http.Agent(), signal: leaving.signal }).catch(() => "left");
    await eventually("it runs", async () => (await running()) === 1);
    const cause = async () => {
      leaving.abort();
      assert.equal(await left, "left");
    };
    return { cause, came: async () => (await running()) === 0 && (await get("/f/one/x")).status === 200 };
  });
});

test("and so does one that hangs up on a WebSocket, or on events", async () => {
  const running = async () => (await platform.status("web-socket")).running;
  await eventually("nobody is there", async () => (await running()) === 0);
  const opened = {
    "a WebSocket": async () => {
      const { head, socket } = await webSocket("/f/web-socket/echo");
      assert.match(head, /^HTTP\/1\.1 101 /);
      return () => socket.destroy();
    },
    events: async () => {
      const leaving = new AbortController();
      const events = await fetch(`${platform.url}/f/web-socket/clock`, { signal: leaving.signal });
      assert.equal(events.headers.get("content-type"), "text/event-stream");
      return () => leaving.abort();
    },
  };
  for (const [what, open] of Object.entries(opened)) {
    await promptly(`the slot of ${what} is free`, 200, async () => {
      const cause = await open();
      await eventually("it runs", async () => (await running()) === 1);
      return { cause, came: async () => (await running()) === 0 };
    });
  }
});

// To whom a program that reads nothing has its body held back.
async function hangUpInAnUpload(framing, size) {
  const socket = createConnection(platform.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(`POST /f/deaf/hang HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${size}`);
  socket.write(Buffer.alloc(100_000, "x"));
  await eventually("it runs", async () => (await platform.status("deaf")).running === 1);
  await eventually("all is sent", () => socket.writableLength === 0);
  socket.destroy();
  const began = performance.now();
  assert.equal((await get("/f/deaf/x")).status, 200);
  return performance.now() - began;
}

test("a client that hangs up in an upload that nobody reads frees its slot, too", async () => {
  await deploy("deaf", { concurrency: 1, max_instances: 1, timeout: "30s" });
  for (const [framing, size] of [["Content-Length: 200000", ""], ["Transfer-Encoding: chunked", "30d40\r\n"]]) {
    const attempts = [];
    for (let i = 0; i < 3; ++i) attempts.push(await hangUpInAnUpload(framing, size));
    assert.ok(Math.min(...attempts) < 200, `${framing}: ${attempts} ms`);
  }
});

test("what two readers could understand differently reaches no program", async () => {
  const count = async () => Number((await get("/f/app/count")).text);
  const before = await count();
  const ambiguous = [
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n",
    "POST /f/app/x HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    "POST /f/app/x HTTP/1.1\r\nHost: x\r\nContent_Length: 3\r\n\r\n",
    "GET /f/app//x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /f/app/../x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /f/app/%2e%2e/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /f%2Fapp/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /f/app/x HTTP/1.1\r\nHost: x\r\nHost: app.localhost\r\n\r\n",
  ];
  for (const text of ambiguous) assert.match(await platform.raw(text), /^HTTP\/1\.1 400 /, text);
  assert.equal(await count(), before);

  // In the midst of a chunked body the head is on its way already: the call ends, its connection
  // too, and what follows is no second request.
  const hidden = "GET /f/app/hidden HTTP/1.1\r\nHost: x\r\n\r\n";
  const begun = [
    `POST /f/app/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n${hidden}`,
    `POST /f/app/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n${hidden}`,
    `POST /f/app/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n${hidden}`,
    `POST /f/app/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n${hidden}`,
    `POST /f/app/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n folded\r\n\r\n${hidden}`,
  ];
  for (const text of begun) {
    const answer = await platform.raw(text);
    assert.match(answer, /^HTTP\/1\.1 400 /, text);
    assert.equal(answer.match(/HTTP\/1\.1/g).length, 1, answer);
  }
});

test("a key opens the platform and is not shown to the program", async () => {
  const made = JSON.parse((await platform.cli("key", "new", "--json")).stdout);
  const file = path.join(platform.dir, "keys");
  writeFileSync(file, made.line + "\n");
  const keyed = await Platform.start({ args: ["--key-file", file], env: { DORMOUSE_KEY: made.key } });
  try {
    const done = await keyed.deploy({ name: "app", runtime: "web", command: ["node", "app.mjs"], memory: "256MiB" }, { "app.mjs": server });
    assert.equal(done.code, 0, done.stderr);
    const ask = (headers) => keyed.request("GET", "/f/app/x", { headers });
    assert.equal((await ask({})).status, 401);
    for (const [headers, left] of [
      [{ authorization: `Bearer ${made.key}` }, {}],
      [{ "x-api-key": made.key }, {}],
      [{ "x-api-key": made.key, authorization: "Basic b3duOm93bg==" }, { authorization: "Basic b3duOm93bg==" }],
      [{ "x-api-key": made.key, authorization: `Bearer ${made.key}` }, {}],
    ]) {
      const answer = await ask(headers);
      assert.equal(answer.status, 200, answer.text);
      assert.ok(!answer.text.includes(made.key), answer.text);
      const { authorization } = JSON.parse(answer.text).headers;
      assert.equal(authorization, left.authorization);
    }
  } finally {
    await keyed.stop();
  }
});

test("a deploy says what is wrong with a program that does not start", async () => {
  const refused = async (manifest, files) => {
    const { code, stderr } = await platform.deploy({ name: "broken", runtime: "web", memory: "128MiB", ...manifest }, files);
    assert.notEqual(code, 0);
    return stderr;
  };
  const files = { "app.mjs": "setInterval(() => {}, 1000)" };
  assert.match(await refused({ command: ["node", "app.mjs"], start_timeout: "500ms" }, files), /did not listen on port 8080 \(\$PORT\)/);
  const astray = { "app.mjs": 'import http from "node:http"; http.createServer().listen(9999); http.createServer().listen(7777, "127.0.0.1")' };
  assert.match(
    await refused({ command: ["node", "app.mjs"], start_timeout: "2s" }, astray),
    /did not listen on port 8080 \(\$PORT\) within its start_timeout; it listens on 7777, 9999$/m,
  );
  assert.match(await refused({ command: ["nodejs-of-old"] }, files), /no program \.\/nodejs-of-old; the code has: app\.mjs/);
  assert.match(await refused({}, files), /no program \.\/bootstrap/);
  assert.match(await refused({ command: ["node", "app.mjs"] }, { "app.mjs": "throw new Error('early')" }), /exited with status 1/);
  assert.match(await refused({ command: "node app.mjs" }, files), /command: "node app\.mjs" is not allowed \(not a list\)/);
  assert.match(await refused({ command: [] }, files), /command/);
});

test("a function that is no server has no paths", async () => {
  await platform.deployProbe("plain");
  const answer = await get("/f/plain/x");
  assert.equal(answer.status, 404);
  assert.match(answer.text, /no HTTP server/);
  assert.equal((await get("/f/nobody/x")).status, 404);
});

test("a body that comes too slowly is cut, and the client told so", async () => {
  const said = await stalled;
  assert.match(said, /^HTTP\/1\.1 408 /);
  assert.match(said, /Connection: close/);
  assert.match(said, /a body that comes too slowly/);
  assert.match(said, /"blame":"caller"/);
});
