// Functions in Node: Lambda's handlers, streams, and a booted Node that waits for its first function.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { on } from "node:events";
import { createConnection } from "node:net";
import path from "node:path";
import { Platform, eventually, promptly, repository } from "./platform.mjs";

let platform;
before(async () => (platform = await Platform.start()));
after(() => platform.stop());

const json = { "content-type": "application/json" };

async function deploy(name, code, more = {}, file = "app.mjs") {
  const manifest = { name, runtime: "node", handler: "app.handler", memory: "256MiB", ...more };
  const done = await platform.deploy(manifest, typeof code === "string" ? { [file]: code } : code);
  assert.equal(done.code, 0, done.stderr);
  return (await platform.json("show", name)).function;
}

const call = (name, event) => platform.callJson(name, event);

const failure = async (name, event) => {
  const answer = await platform.invoke(name, JSON.stringify(event), json);
  const { error } = JSON.parse(answer.text);
  return [answer.status, error.blame, error.message];
};

test("async handlers, callbacks, nested exports, both kinds of module", async () => {
  await deploy("esm", "export const handler = async (event, context) => ({ event, name: context.functionName });");
  assert.deepEqual(await call("esm", { a: [1, "ü", null] }), { event: { a: [1, "ü", null] }, name: "esm" });
  await deploy("cjs", "exports.handler = (event, context, callback) => setTimeout(() => callback(null, event), 5);", {}, "app.js");
  assert.equal(await call("cjs", 7), 7);
  const nested = { "main.cjs": "module.exports = { a: { b: () => require('./other.cjs') } };", "other.cjs": "module.exports = 3;" };
  await deploy("nested", nested, { handler: "main.a.b" });
  assert.equal(await call("nested"), 3);
  await deploy("nothing", "export const handler = () => {};");
  assert.equal(await call("nothing"), null);
});

test("an answer is what comes first: the callback, the context's methods, or what is returned", async () => {
  const code = `const later = (what) => setTimeout(what, 5);
const inner = (event, context, callback) => { later(() => callback(null, ["inner", event])); };
const handlers = {
  wrapped: (...args) => inner(...args),
  succeed: (event, context) => { later(() => context.succeed(1)); },
  done: (event, context) => { later(() => context.done(null, 2)); },
  fail: (event, context) => { later(() => context.fail(new RangeError("no"))); },
  callback: (event, context) => inner(event, context, context.done),
  first: async (event, context) => { context.succeed("early"); return "late"; },
  both: async (event, context, callback) => { callback("this"); throw new Error("that"); },
  thrown: (event, context) => { context.fail("this"); throw new Error("that"); },
  nothing: (event, context) => { later(() => {}); },
  never: (event, context, callback) => {},
  timer: (event, context, callback) => { later(() => callback(null, 3)); return { unref: 1 }; },
  returned: () => 4,
};
exports.handler = function (event) { return handlers[event].apply(this, arguments); };
exports.three = (event, context, callback) => handlers[event](event, context, callback);`;
  await deploy("first", code, {}, "app.js");
  const rows = { wrapped: ["inner", "wrapped"], succeed: 1, done: 2, callback: ["inner", "callback"], first: "early", nothing: null, never: null, returned: 4 };
  for (const [event, expected] of Object.entries(rows)) assert.deepEqual(await call("first", event), expected, event);
  assert.deepEqual(await failure("first", "fail"), [502, "function", "RangeError: no"]);
  for (const event of ["both", "thrown"]) assert.deepEqual(await failure("first", event), [502, "function", "string: this"]);
  await deploy("three", code, { handler: "app.three" }, "app.js");
  assert.equal(await call("three", "timer"), 3);
  assert.equal(await call("three", "never"), null);
  await deploy("shared", code, { concurrency: 2 }, "app.js");
  assert.equal(await call("shared", "nothing"), null);
});

test("the context, the environment and the time that is left are Lambda's", async () => {
  const code = `export async function handler(event, context) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { GREETING, _HANDLER, LAMBDA_TASK_ROOT } = process.env;
    return { id: context.awsRequestId, memory: context.memoryLimitInMB, left: context.getRemainingTimeInMillis(),
             env: [GREETING, _HANDLER, LAMBDA_TASK_ROOT], cwd: process.cwd() };
  }`;
  await deploy("context", code, { timeout: "5s", env: { GREETING: "good morning" } });
  const answer = await platform.invoke("context", "{}", json);
  const said = JSON.parse(answer.text);
  assert.equal(said.id, answer.headers["dormouse-invocation"]);
  assert.equal(said.memory, "256");
  assert.ok(said.left > 3000 && said.left <= 4960, `${said.left} ms left`);
  assert.deepEqual(said.env, ["good morning", "app.handler", "/code"]);
  assert.equal(said.cwd, "/code");
});

test("an error fails its own call, with its name and message; what nobody catches ends the instance", async () => {
  const code = `let calls = 0;
class TooBig extends Error { name = "TooBig"; }
export async function handler(event) {
  if (event === "throw") throw new TooBig("over 3");
  if (event === "string") throw "just text";
  if (event === "uncaught") { setTimeout(() => { throw new Error("later"); }); return new Promise(() => {}); }
  if (event === "exit") process.exit(9);
  return ++calls;
}`;
  await deploy("errors", code);
  assert.equal(await call("errors"), 1);
  assert.deepEqual(await failure("errors", "throw"), [502, "function", "TooBig: over 3"]);
  assert.deepEqual(await failure("errors", "string"), [502, "function", "string: just text"]);
  assert.equal(await call("errors"), 2, "the same instance");
  assert.match((await failure("errors", "uncaught"))[2], /exited with status 1; it last printed: uncaught Error: later/);
  assert.equal(await call("errors"), 1, "a new one");
  assert.match((await failure("errors", "exit"))[2], /exited with status 9/);
  await eventually("the stack is in the log", async () => {
    const { stdout } = await platform.cli("logs", "errors");
    return stdout.includes("TooBig: over 3") && /at .*app\.mjs:4/.test(stdout);
  });
});

test("streams: async generators and streamifyResponse, under the reader's pace", async () => {
  const code = `import { setTimeout as sleep } from "node:timers/promises";
import { pipeline } from "node:stream/promises";
export async function* generated(event) {
  for (let i = 0; i < event.n; ++i) yield "x".repeat(1000);
  if (event.breaks) throw new Error("half-way");
}
export const lambda = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 200, headers: { "Content-Type": "text/event-stream" } });
  for (let i = 0; i < event.n; ++i) { stream.write(\`data: \${i}\\n\\n\`); await sleep(event.pause); }
  stream.end();
});`;
  await deploy("generated", code, { handler: "app.generated" });
  const whole = await platform.invoke("generated", '{"n": 1500}', json);
  assert.equal(whole.body.length, 1_500_000);
  await assert.rejects(platform.invoke("generated", '{"n": 1500, "breaks": true}', json));
  assert.deepEqual(await failure("generated", { n: 0, breaks: true }), [502, "function", "Error: half-way"]);
  assert.equal((await platform.invoke("generated", '{"n": 0}', json)).body.length, 0);
  await deploy("lambda", code, { handler: "app.lambda" });
  const answer = await platform.invoke("lambda", '{"n": 5, "pause": 20}', json);
  assert.equal(answer.headers["content-type"], "text/event-stream");
  assert.equal(answer.text, [0, 1, 2, 3, 4].map((i) => `data: ${i}\n\n`).join(""));
});

test("what a handler does after its stream's end is of its call: it is waited for, and what it throws fails it", async () => {
  const code = `import { setTimeout as sleep } from "node:timers/promises";
import { pipeline } from "node:stream/promises";
let running = 0;
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const beside = running++;
  if (event.http) stream = awslambda.HttpResponseStream.from(stream, { statusCode: 200 });
  await pipeline([\`beside \${beside}\`], stream);
  await sleep(100);
  console.log("after", event.id);
  --running;
  if (event.throws) throw new Error("after its end");
});`;
  await deploy("afterwards", code, { max_instances: 1 });
  const ask = (event) => platform.invoke("afterwards", JSON.stringify(event), json);
  for (const http of [false, true]) {
    const answers = await Promise.all([0, 1].map((id) => ask({ id, http })));
    for (const { text } of answers) assert.equal(text, "beside 0");
    const ids = answers.map(({ headers }) => headers["dormouse-invocation"]);
    for (const id of ids) assert.match((await platform.cli("logs", "afterwards", "--invocation", id)).stdout, /after [01]/);
    await assert.rejects(ask({ id: 2, http, throws: true }));
    await eventually("what was thrown is in the log", async () =>
      /Error: after its end\n.* at .*app\.mjs:\d+/.test((await platform.cli("logs", "afterwards")).stdout));
  }
});

test("who hangs up in the middle of a stream gives its place back within 200 ms", async () => {
  const code = `import { setTimeout as sleep } from "node:timers/promises";
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("first");
  if (event.ends) stream.end();
  if (!event.brief) await sleep(50_000);
});`;
  await deploy("left", code, { max_instances: 1, timeout: "60s" });
  for (const ends of [false, true]) {
    await promptly("its place is free", 200, async () => {
      const socket = createConnection(platform.port, "127.0.0.1");
      const body = JSON.stringify({ ends });
      const head = `POST /f/left HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
      socket.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
      for await (const piece of on(socket, "data")) if (piece.toString().includes("first")) break;
      assert.equal((await platform.status("left")).running, 1);
      return { cause: () => socket.destroy(), came: async () => (await platform.status("left")).running === 0 };
    });
    const after = await platform.invoke("left", '{"brief": true}', json);
    assert.equal(after.text, "first");
  }
});

test("a promise that nothing is left to settle fails its call, and says so", async () => {
  const code = `const never = () => new Promise(() => {});
let calls = 0;
export const returned = async (event) => { ++calls; if (event) await never(); return calls; };
export async function* generated() { await never(); yield 1; }
export const streamed = awslambda.streamifyResponse(async () => never());`;
  for (const name of ["returned", "generated", "streamed"]) {
    await deploy(`never-${name}`, code, { handler: `app.${name}` });
    const why = "HandlerError: its promise was never settled: nothing was left that could settle it";
    assert.deepEqual(await failure(`never-${name}`, 1), [502, "function", why]);
  }
  assert.equal(await call("never-returned", 0), 2, "the same instance");
});

test("what HttpResponseStream says of HTTP is answered with, or named", async () => {
  const code = `export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, event.metadata);
  if (event.fails) throw new Error("before its first piece");
  for (const piece of event.pieces ?? []) stream.write(piece);
  stream.end();
});`;
  await deploy("says", code);
  const metadata = { statusCode: 201, headers: { "X-A": "b", "Content-Type": "text/plain" }, cookies: ["a=1", "b=2"] };
  const ask = (event) => platform.invoke("says", JSON.stringify(event), json);
  const answer = await ask({ metadata, pieces: ["one ", "two"] });
  assert.deepEqual([answer.status, answer.text], [201, "one two"]);
  const { "x-a": a, "content-type": type, "set-cookie": cookies } = answer.headers;
  assert.deepEqual([a, type, cookies], ["b", "text/plain", ["a=1", "b=2"]]);
  const empty = await ask({ metadata: { statusCode: 404 } });
  assert.deepEqual([empty.status, empty.text, empty.headers["content-type"]], [404, "", "application/octet-stream"]);
  assert.equal((await ask({ metadata: { statusCode: 204 } })).status, 204);
  assert.deepEqual(await failure("says", { metadata, fails: true }), [502, "function", "Error: before its first piece"]);
  const [status, blame, message] = await failure("says", { metadata: { headers: { "Dormouse-Cost": "0" } } });
  assert.deepEqual([status, blame], [502, "function"]);
  assert.match(message, /cannot be obeyed: headers: "Dormouse-Cost"/);
});

test("the example counts down, an event at a time", async () => {
  const done = await platform.cli("deploy", path.join(repository, "examples/node-stream"));
  assert.equal(done.code, 0, done.stderr);
  const answer = await platform.invoke("node-stream", '{"from": 3}', json);
  assert.equal(answer.headers["content-type"], "text/event-stream");
  const left = [3, 2, 1].map((left) => `data: {"left":${left}}\n\n`).join("");
  assert.equal(answer.text, `${left}event: done\ndata: {}\n\n`);
  assert.deepEqual(await failure("node-stream", { from: "x" }), [
    502, "function", "RangeError: from: a whole number from 1 to 100",
  ]);
});

test("bytes and large bodies; what is not JSON comes as a function URL's event", async () => {
  await deploy("bytes", "export const handler = (event) => Buffer.alloc(event.size, 'ab');");
  const answer = await platform.invoke("bytes", '{"size": 2000001}', json);
  assert.equal(answer.headers["content-type"], "application/octet-stream");
  assert.equal(answer.body.length, 2_000_001);
  await deploy("raw", "export const handler = (event) => event;");
  const picture = await platform.invoke("raw", Buffer.from([1, 2, 255]), { "content-type": "image/png" });
  assert.deepEqual(JSON.parse(picture.text), {
    version: "2.0", headers: { "content-type": "image/png" }, body: "AQL/", isBase64Encoded: true,
  });
  assert.equal(await call("raw", "z".repeat(2 << 20)), "z".repeat(2 << 20));
  const bad = await platform.invoke("raw", "{", json);
  assert.equal(bad.status, 400);
  const { code, message, blame } = JSON.parse(bad.text).error;
  assert.deepEqual([code, blame], ["invalid_argument", "caller"]);
  assert.match(message, /^the body is not JSON: /);
});

test("at a concurrency above 1 calls run side by side in one instance", async () => {
  const code = `let inside = 0, open;
const all = new Promise((resolve) => (open = resolve));
export async function handler() { if (++inside === 3) open(); await all; return inside; }`;
  await deploy("beside", code, { concurrency: 3, max_instances: 1, timeout: "10s" });
  assert.deepEqual(await Promise.all([call("beside"), call("beside"), call("beside")]), [3, 3, 3]);
});

test("K1: instances, each booted before anybody knew what for, share no random numbers", async () => {
  const code = `import { randomBytes, randomUUID } from "node:crypto";
  const started = [randomBytes(16).toString("hex"), randomUUID(), Math.random()];
  export async function handler() {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return [...started, randomBytes(16).toString("hex"), randomUUID(), Math.random()];
  }`;
  const many = 6;
  await deploy("random", code, { min_instances: many, max_instances: many, memory: "128MiB" });
  await eventually("all wait", async () => (await platform.status("random")).instances.dozing === many);
  const drawn = await Promise.all(Array.from({ length: many }, () => call("random", null)));
  assert.equal(new Set(drawn.map(([first]) => first)).size, many); // One call each.
  assert.equal(new Set(drawn.flat()).size, 6 * many);
});

test("a deploy that cannot work says why, in the code's own words", async () => {
  const cases = [
    ["import 'nothing-like-this';", "app.handler", /Cannot find package 'nothing-like-this'/],
    ["import { S3Client } from '@aws-sdk/client-s3';", "app.handler", /Cannot find package '@aws-sdk\/client-s3' imported from .*app\.mjs; AWS's runtimes bring @aws-sdk\/client-s3, this one does not: npm install/],
    ["import { createRequire } from 'node:module'; createRequire('/code/')('aws-sdk/clients/s3');", "app.handler", /Cannot find module 'aws-sdk\/clients\/s3'; AWS's runtimes bring aws-sdk,/],
    ["export const other = () => 1;", "app.handler", /app\.mjs exports no function "handler"; it has: other/],
    ["export const handler = 1;", "main.handler", /there is no main\.mjs, \.js or \.cjs; the code has: app\.mjs/],
    ["import 'node:fs';\nexport const handler = (;", "app.handler", /SyntaxError: app\.mjs:2: Unexpected/],
    ["JSON.parse('{');", "app.handler", /SyntaxError: Expected property name/],
    ["process.exit(4);", "app.handler", /exited with status 4/],
    ["throw new RangeError('no');", "app.handler", /RangeError: no/],
    ["throw null;", "app.handler", /object: null/],
    ["throw undefined;", "app.handler", /undefined: undefined/],
  ];
  for (const [code, handler, why] of cases) {
    const manifest = { name: "broken", runtime: "node", handler, memory: "256MiB" };
    const done = await platform.deploy(manifest, { "app.mjs": code });
    assert.notEqual(done.code, 0);
    assert.match(done.stderr, why);
  }
  const without = await platform.deploy({ name: "broken", runtime: "node" }, { "app.mjs": "" });
  assert.match(without.stderr, /handler is missing/);
});

test("a booted Node waits once there is a function for it: its wake is not Node's start", async () => {
  const { revision } = await deploy("awaited", "export const handler = () => process.uptime();", { keep_alive: "0ms" });
  assert.match(revision.notes.start, /a booted interpreter that waits/);
  await platform.blanksWait("node");
  const answer = await platform.invoke("awaited", "null", json);
  assert.equal(answer.status, 200, answer.text);
  const receipt = await platform.json("receipt", answer.headers["dormouse-invocation"]);
  assert.equal(receipt.receipts[0].rung, "blank", JSON.stringify(receipt));
});
