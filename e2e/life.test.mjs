// One function's life as its user sees it: deployed, called cold and warm, asleep, awake again.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { Platform, eventually } from "./platform.mjs";

let platform;
before(async () => (platform = await Platform.start()));
after(() => platform.stop());

test("a call finds its function asleep, wakes it, and gets a receipt", async () => {
  await platform.deployProbe("echo", { keep_alive: "200ms" });
  const cold = await platform.invoke("echo", "echo hello");
  assert.equal(cold.status, 200, cold.text);
  assert.equal(cold.text, "hello");
  assert.match(cold.headers["server-timing"], /wake-load;dur=/);
  assert.match(cold.headers["dormouse-cost"], /^0\.0000/);
  const warm = await platform.invoke("echo", "echo again");
  assert.equal(warm.text, "again");
  assert.doesNotMatch(warm.headers["server-timing"], /wake/);
  const id = warm.headers["dormouse-invocation"];
  const receipt = await eventually("the receipt", async () => {
    const found = await platform.request("GET", `/api/v1/invocations/${id}`);
    return found.status === 200 && found;
  });
  assert.match(receipt.text, new RegExp(id));
});

test("idle past its keep-alive it is asleep, and wakes again", async () => {
  await eventually("asleep, and nothing left of it", async () => {
    const { state, instances, memory_bytes } = await platform.status("echo");
    return state === "asleep" && instances.stopping === 0 && memory_bytes === 0;
  });
  assert.equal((await platform.invoke("echo", "echo back")).text, "back");
});

test("one that lets nobody wait still wakes for who calls", async () => {
  await platform.deployProbe("hasty", { keep_alive: "0ms", max_instances: 1, queue: 0 });
  for (let i = 0; i < 3; ++i) {
    const { status, text } = await platform.invoke("hasty", "echo here");
    assert.equal(text, "here", `${status}`);
  }
  const both = await Promise.all([1, 2, 3].map(() => platform.invoke("hasty", "sleep 300")));
  const statuses = both.map(({ status }) => status).sort();
  assert.deepEqual([statuses[0], statuses[2]], [200, 429]);
});

test("what is wrong with a request is said plainly", async () => {
  const none = await platform.invoke("no-such", "x");
  assert.equal(none.status, 404);
  assert.equal(JSON.parse(none.text).error.code, "not_found");
  assert.equal((await platform.request("GET", "/f/echo")).status, 405);
  const large = await platform
    .request("POST", "/f/echo", {
      body: Buffer.alloc(17 << 20),
      headers: { "content-type": "text/plain" },
    })
    .catch((failure) => ({ status: failure.code }));
  assert.ok(large.status === 413 || large.status === "ECONNRESET" || large.status === "EPIPE");
});

test("without a key, a page of another site calls nothing; one of this machine does", async () => {
  const from = (origin) => ({ "content-type": "text/plain", ...(origin && { origin }) });
  const post = async (target, origin) => (await platform.request("POST", target, { body: "x", headers: from(origin) })).status;
  for (const target of ["/f/echo", "/v2/models/echo/infer", "/v1/chat/completions", "/2015-03-31/functions/echo/invocations"]) {
    for (const origin of ["https://evil.example", "null"]) assert.equal(await post(target, origin), 403, target);
    assert.notEqual(await post(target, "http://localhost:3000"), 403, target);
  }
  assert.equal(await post("/f/echo", undefined), 200);
  const { text } = await platform.request("POST", "/f/echo", { body: "x", headers: from("https://evil.example") });
  assert.match(JSON.parse(text).error.message, /a web page of "https:\/\/evil\.example" may not call functions/);
});

test("a crash costs its own call and nothing else", async () => {
  const crash = await platform.invoke("echo", "crash");
  assert.equal(crash.status, 502);
  const { error } = JSON.parse(crash.text);
  assert.equal(error.blame, "function");
  assert.match(error.message, /SIG|status/);
  assert.equal((await platform.invoke("echo", "echo alive")).text, "alive");
});

test("a call past its timeout is ended, and its instance with it", async () => {
  await platform.deployProbe("slow", { timeout: "2s" });
  const late = await platform.invoke("slow", "sleep 60000");
  assert.equal(late.status, 504);
  assert.equal((await platform.invoke("slow", "echo next")).text, "next");
});

test("every command has a machine's and a person's form", async () => {
  for (const args of [["list"], ["show", "echo"], ["revisions", "echo"], ["usage"], ["doctor"]]) {
    const person = await platform.cli(...args);
    assert.equal(person.code, 0, `${args}: ${person.stderr}`);
    assert.ok(person.stdout.length > 0);
    await platform.json(...args);
  }
  const wrong = await platform.cli("show", "no-such");
  assert.notEqual(wrong.code, 0);
  assert.match(wrong.stderr, /no-such/);
});

test("what it writes is closed to others, and open to sandboxes, under any umask", async () => {
  const strict = ["sh", "-c", 'umask 077; exec "$@"', "sh"];
  const other = await Platform.start({ prefix: strict });
  for (const entry of readdirSync(other.data, { withFileTypes: true })) {
    const others = statSync(path.join(other.data, entry.name)).mode & 0o077;
    // gVisor's processes pass through to the roots that they serve.
    assert.equal(others, entry.name === "sandboxes" ? 0o011 : 0, entry.name);
  }
  for (const runtime of ["python", "node"]) {
    const manifest = { name: runtime, runtime, handler: "app.handler", memory: "128MiB" };
    const files = { "app.py": "handler = lambda *_: open('deep/er.txt').read()", "deep/er.txt": "read" };
    const read = `require("fs").readFileSync("/code/deep/er.txt", "utf8")`;
    files["app.js"] = `exports.handler = async () => ${read};`;
    const done = await other.deploy(manifest, files);
    assert.equal(done.code, 0, done.stderr);
    assert.equal(await other.callJson(runtime, {}), "read");
  }
  const sandboxes = path.join(other.data, "sandboxes/sandboxes");
  const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "ls"];
  for (const name of readdirSync(sandboxes)) {
    const seen = spawnSync("setpriv", [...nobody, path.join(sandboxes, name, "config.json")]);
    assert.match(seen.stderr.toString(), /Permission denied/);
  }
  await other.stop();
});
