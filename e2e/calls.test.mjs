// Functions that call each other: through the wire, without a network.
import { test, describe, before, after } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, compileNative, eventually } from "./platform.mjs";

let platform;
before(async () => (platform = await Platform.start()));
after(() => platform.stop());

async function deploy(name, code, more = {}) {
  const manifest = { name, runtime: "python", handler: "app.handler", memory: "256MiB", ...more };
  const done = await platform.deploy(manifest, { "app.py": code });
  assert.equal(done.code, 0, done.stderr);
}

const call = (name, event) => platform.callJson(name, event);

const echo = `
import json
def handler(event, context):
    if event == "fail": raise ValueError("not that")
    if event == "bytes": return bytes(range(256)) * 1000
    if event == "stream": return iter_it()
    if isinstance(event, dict) and event.get("headers"): return {"got": event["body"], "type": event["headers"]["content-type"]}
    return {"got": event, "id": context.aws_request_id}
def iter_it():
    yield "one"
    yield b"two"
`;

const outer = `
import threading, dormouse
def handler(event, context):
    what = event["what"]
    if what == "call": return dormouse.invoke("inner", event["payload"])
    if what == "size": return len(dormouse.invoke("inner", "bytes"))
    if what == "stream": return dormouse.invoke("inner", "stream").decode()
    if what == "large": return len(dormouse.invoke("inner", b"x" * 1_000_000, content_type="text/plain")["got"])
    if what == "many":
        answers = [None] * 8
        def one(i): answers[i] = dormouse.invoke("inner", i)["got"]
        threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
        for each in threads: each.start()
        for each in threads: each.join()
        return answers
    try:
        return dormouse.invoke(what, event.get("payload"))
    except dormouse.Error as error:
        return [error.code, str(error)]
`;

test("a function calls another, which has a receipt of its own", async () => {
  await deploy("inner", echo);
  await deploy("outer", outer);
  const said = await call("outer", { what: "call", payload: { a: [1, "ü", null] } });
  assert.deepEqual(said.got, { a: [1, "ü", null] });
  const { receipts } = JSON.parse((await platform.request("GET", `/api/v1/invocations/${said.id}`)).text);
  assert.deepEqual([receipts[0].function, receipts[0].outcome], ["inner", "answered"]);
});

test("large bodies both ways, and streams as a whole", async () => {
  assert.equal(await call("outer", { what: "size" }), 256_000);
  assert.equal(await call("outer", { what: "large" }), 1_000_000);
  assert.equal(await call("outer", { what: "stream" }), "onetwo");
});

// Bytes more than a window, an end that is a failure, and an answer that is no stream.
const told = `
def handler(event, context):
    if event == "whole": return {"a": 1}
    return fails() if event == "fail" else large()
def fails():
    yield b"one"
    raise ValueError("and no more")
def large():
    for each in range(40): yield bytes([each]) * 20_000
`;

// Text and events, with a character that is torn between pieces.
const written = `
const pieces = {
  "text/plain": ["caf", "\\xc3", "\\xa9"],
  "text/event-stream": ["event: x\\r\\ndata: caf\\xc3", "\\xa9 \\r\\n\\r", "\\ndata: 1\\ndata:2\\n\\n: nothing\\n\\ndata: [DONE]\\n\\n"],
};
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType(event);
  for (const each of pieces[event]) {
    stream.write(Buffer.from(each, "latin1"));
    await new Promise((go) => setTimeout(go, 20));
  }
  stream.end();
});
`;

const streamer = `
import dormouse, hashlib
def handler(event, context):
    if event == "left":
        for piece in dormouse.stream("told", "bytes"): return len(piece)
    if event == "collected": return abandon()
    if event == "digest":
        pieces = list(dormouse.stream("told", "bytes"))
        return [len(pieces) > 4, hashlib.sha256(b"".join(pieces)).hexdigest()]
    pieces = []
    try:
        for piece in dormouse.stream("written" if "/" in event else "told", event):
            pieces.append(piece.decode() if isinstance(piece, bytes) else piece)
    except dormouse.Error as error:
        pieces.append([error.code, str(error)])
    return pieces
# As the garbage collector may, in the middle of what the worker does.
def abandon():
    worker = dormouse.stream.__globals__["_worker"]
    for lock in (worker._mail._changed, worker._socket._sending):
        stream = dormouse.stream("told", "bytes")
        next(stream)
        with lock: stream.close()
    return dormouse.invoke("told", "whole")
`;

test("streams come as they are said, to a function that asks for that", async () => {
  await deploy("told", told);
  await deploy("streamer", streamer);
  const node = await platform.deploy({ name: "written", runtime: "node", handler: "app.handler" }, { "app.mjs": written });
  assert.equal(node.code, 0, node.stderr);
  const large = Buffer.concat(Array.from({ length: 40 }, (_, each) => Buffer.alloc(20_000, each)));
  assert.deepEqual(await call("streamer", "text/event-stream"), ["café ", "1\n2", "[DONE]"]);
  assert.equal((await call("streamer", "text/plain")).join(""), "café");
  assert.deepEqual(await call("streamer", "whole"), [{ a: 1 }]);
  assert.deepEqual(await call("streamer", "fail"), ["one", ["function_failed", "function_failed: ValueError: and no more"]]);
  assert.deepEqual(await call("streamer", "digest"), [true, createHash("sha256").update(large).digest("hex")]);
  for (let turn = 0; turn < 20; ++turn) assert.ok((await call("streamer", "left")) > 0);  // More than 16 at a time.
  assert.deepEqual(await call("streamer", "collected"), { a: 1 });
});

test("threads of a handler call at the same time", async () => {
  assert.deepEqual(await call("outer", { what: "many" }), [0, 1, 2, 3, 4, 5, 6, 7]);
});

test("so do calls that run side by side, async handlers included", async () => {
  const code = `
import asyncio, dormouse
async def handler(event, context):
    first, second = await asyncio.gather(asyncio.to_thread(dormouse.invoke, "inner", [event, 1]), asyncio.to_thread(dormouse.invoke, "inner", [event, 2]))
    return [first["got"], second["got"]]
`;
  await deploy("side", code, { concurrency: 10, max_instances: 1 });
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => call("side", i)));
  assert.deepEqual(all, Array.from({ length: 20 }, (_, i) => [[i, 1], [i, 2]]));
});

// Calls what the first line of its body names with what follows, times over, and answers with the
// last answer, what it was given, and how much of it.
const caller = `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dormouse.h"
int main(void) {
  if (dormouse_template() != 0) return 1;
  for (struct dormouse_call call; dormouse_next(&call) == 1;) {
    char head[80] = "", name[80] = "";
    int times = 1, skip = 0;
    memcpy(head, call.body, call.size < 79 ? call.size : 79);
    if (sscanf(head, "%79s %d\\n%n", name, &times, &skip) != 2) return 2;
    struct dormouse_reply reply = {NULL, NULL, 0, ""};
    for (int i = 0; i < times; ++i) {
      free(reply.body);
      if (dormouse_invoke(&call, name, "text/plain", (const char*)call.body + skip, call.size - skip, &reply)) return 3;
    }
    const size_t room = reply.size + 300;
    char* answer = malloc(room);
    const int size = snprintf(answer, room, "%s %s %zu %.7s %s", reply.failed ? reply.failed : "answered",
                              reply.content_type, reply.size, (const char*)call.body, (char*)reply.body);
    dormouse_answer(&call, "text/plain", answer, size);
    free(answer), free(reply.body);
  }
  return 0;
}
`;

test("a native program calls, too, and keeps what it was given itself", async (t) => {
  const folder = path.join(platform.dir, "native-caller");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "dormouse.yaml"), "name: native-caller\nruntime: executable\nmemory: 256MiB\nmax_body: 80MiB\n");
  writeFileSync(path.join(folder, "native.c"), caller);
  if (!compileNative(folder, "dormouse_invoke.c")) return t.skip("there is no C compiler");
  const done = await platform.cli("deploy", folder);
  assert.equal(done.code, 0, done.stderr);
  const said = async (body) => {
    const { status, text } = await platform.invoke("native-caller", body);
    assert.equal(status, 200, text);
    return text;
  };
  await deploy("upper", "def handler(event, context): return event['body'].upper()\n");
  await deploy("long", "def handler(event, context): return 'y' * int(event['body'])\n");
  assert.match(await said("upper 1\nabc"), /^answered application\/json 5 upper 1 "ABC"$/);
  assert.match(await said("upper 50\nagain"), /^answered application\/json 7 upper 5 "AGAIN"$/);
  const large = "a".repeat(300_000);
  assert.equal(await said(`upper 2\n${large}`), `answered application/json 300002 upper 2 "${large.toUpperCase()}"`);
  assert.equal(await said("long 1\n200000"), `answered application/json 200002 long 1\n "${"y".repeat(200_000)}"`);
  assert.match(await said("nobody 1\nx"), /^not_found {2}\d+ nobody  there is no function "nobody"$/);
  assert.match(await said("long 1\nx"), /^function_failed {2}\d+ long 1\n ValueError: invalid literal/);
  assert.match(await said(`${"n".repeat(65)} 1\nx`), /^not_found {2}\d+ nnnnnnn there is no function of such a name$/);
  assert.match(await said(`upper 1\n${"x".repeat(65 << 20)}`), /^too_large {2}\d+ upper 1 the body is larger/);
  assert.match(await said("upper 1\nstill"), /"STILL"$/);
  const recursion = await said("native-caller 1\nnative-caller 1\nupper 1\ndeep");
  assert.match(recursion, /^answered text\/plain \d+ native- answered text\/plain \d+ native- answered .*"DEEP"$/s);
});

test("a call that fails says why, and whose name there is not", async () => {
  assert.deepEqual(await call("outer", { what: "nobody" }), ["not_found", 'not_found: there is no function "nobody"']);
  assert.deepEqual(await call("outer", { what: "inner", payload: "fail" }), ["function_failed", "function_failed: ValueError: not that"]);
});

test("O9: recursion stops at a depth of 16", async () => {
  await deploy("self", `
import dormouse
def handler(event, context):
    try:
        return 1 + dormouse.invoke("self", None)
    except dormouse.Error as error:
        print(error)
        return 0 if error.code == "conflict" else -1000
`, { max_instances: 40, memory: "64MiB" });
  assert.equal(await call("self"), 16);
});

const nodeOuter = `
export async function handler(event) {
  const { what, payload } = event;
  if (what === "call") return dormouse.invoke("inner", payload);
  if (what === "size") return (await dormouse.invoke("inner", "bytes")).length;
  if (what === "stream") return Buffer.from(await dormouse.invoke("inner", "stream")).toString();
  if (what === "large") return (await dormouse.invoke("inner", Buffer.alloc(300_000, "x"), { contentType: "text/plain" })).got.length;
  if (what === "many") return Promise.all(Array.from({ length: 8 }, (_, i) => dormouse.invoke("inner", i).then((said) => said.got)));
  if (what === "echo") return payload;
  if (what === "bytes") return Buffer.alloc(300_000, 7);
  if (what === "more") {
    const all = await Promise.allSettled(Array.from({ length: 80 }, () => dormouse.invoke("tarries")));
    return all.map((each) => each.reason?.code ?? "answered");
  }
  try {
    return await dormouse.invoke(what, payload);
  } catch (error) {
    return [error.code, error.message];
  }
}
`;

const nodeSelf = `
let calls = 0;
export async function handler(event) {
  if (event === "calls") return calls;
  ++calls;
  try {
    return 1 + (await dormouse.invoke("node-self"));
  } catch (error) {
    return error.code === "conflict" ? 0 : -1000;
  }
}
`;

async function deployNode(name, code, more = {}) {
  const manifest = { name, runtime: "node", handler: "app.handler", memory: "256MiB", ...more };
  const done = await platform.deploy(manifest, { "app.mjs": code });
  assert.equal(done.code, 0, done.stderr);
}

test("Node calls Python, with large bodies both ways, and side by side", async () => {
  await deployNode("node-outer", nodeOuter);
  const said = await call("node-outer", { what: "call", payload: { a: [1, "ü", null] } });
  assert.deepEqual(said.got, { a: [1, "ü", null] });
  assert.equal(await call("node-outer", { what: "size" }), 256_000);
  assert.equal(await call("node-outer", { what: "stream" }), "onetwo");
  assert.equal(await call("node-outer", { what: "large" }), 300_000);
  assert.deepEqual(await call("node-outer", { what: "many" }), [0, 1, 2, 3, 4, 5, 6, 7]);
});

test("Python calls Node", async () => {
  await deploy("to-node", `
import dormouse
def handler(event, context):
    answer = dormouse.invoke("node-outer", event)
    return len(answer) if isinstance(answer, bytes) else answer
`);
  assert.deepEqual(await call("to-node", { what: "echo", payload: ["ü"] }), ["ü"]);
  assert.equal(await call("to-node", { what: "bytes" }), 300_000);
});

test("O9: of a function in Node, too, by the global and by the loopback", async () => {
  await deployNode("node-self", nodeSelf, { concurrency: 20, max_instances: 1 });
  assert.equal(await call("node-self"), 16);
  assert.equal(await call("node-self", "calls"), 17); // Those beyond were never begun.
  const byLoopback = nodeSelf.replace("handler(event)", "handler(event, context)").replace('dormouse.invoke("node-self")', `
    fetch("http://" + process.env.DORMOUSE_API + "/dormouse/v1/functions/node-shim", {
      method: "POST", body: "null",
      headers: { "Content-Type": "application/json", "Dormouse-Invocation": context.awsRequestId },
    }).then(async (got) => (got.ok ? got.json() : Promise.reject((await got.json()).error)))`);
  await deployNode("node-shim", byLoopback, { concurrency: 20, max_instances: 1 });
  assert.equal(await call("node-shim"), 16);
  assert.equal(await call("node-shim", "calls"), 17);
});

test("Node is told why there is no answer", async () => {
  assert.deepEqual(await call("node-outer", { what: "nobody" }), ["not_found", 'not_found: there is no function "nobody"']);
  assert.deepEqual(await call("node-outer", { what: "no/such" }).then(([code]) => code), "invalid_argument");
  assert.deepEqual(await call("node-outer", { what: "inner", payload: "fail" }), ["function_failed", "function_failed: ValueError: not that"]);
});

test("a Node that serves ten calls makes calls for all of them", async () => {
  await deployNode("node-side", `
export async function handler(event) {
  const answers = await Promise.all([1, 2].map((each) => dormouse.invoke("inner", [event, each])));
  return answers.map((each) => each.got);
}
`, { concurrency: 10, max_instances: 1 });
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => call("node-side", i)));
  assert.deepEqual(all, Array.from({ length: 20 }, (_, i) => [[i, 1], [i, 2]]));
});

test("CommonJS has the same global; what is too large is refused, and what is empty is not", async () => {
  const code = `
exports.handler = async (event) => {
  try {
    return await dormouse.invoke("inner", Buffer.alloc(event, "x"), { contentType: "text/plain" });
  } catch (error) {
    return [error instanceof Error, error.code];
  }
};
`;
  const manifest = { name: "common", runtime: "node", handler: "app.handler", memory: "512MiB" };
  const done = await platform.deploy(manifest, { "app.cjs": code });
  assert.equal(done.code, 0, done.stderr);
  assert.deepEqual(await call("common", 70 << 20), [true, "too_large"]);
  assert.equal((await call("common", 49_152)).got.length, 49_152);
  assert.equal((await call("common", 49_153)).got.length, 49_153);
  assert.equal((await call("common", 0)).got, null);
});

test("what is over 64 calls at a time is refused, and the instance goes on", async () => {
  await deployNode("tarries", `
export async function handler() { await new Promise((done) => setTimeout(done, 300)); return 1; }
`, { concurrency: 100, max_instances: 1 });
  const codes = await call("node-outer", { what: "more" });
  assert.equal(codes.filter((code) => code === "overloaded").length, 16);
  assert.equal(codes.filter((code) => code === "answered").length, 64);
  assert.equal(await call("node-outer", { what: "echo", payload: 1 }), 1);
});

test("a shell script calls by curl, from within a call and only then", async () => {
  const script = `#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API
functions=$api/dormouse/v1/functions
early=$(curl -s -o /dev/null -w '%{http_code}' --data '1' $functions/inner)
head -c 300000 /dev/zero | tr '\\0' x > /tmp/large
while :; do
  name=$(curl -s -D /tmp/head $api/2018-06-01/runtime/invocation/next)
  id=$(tr -d '\\r' < /tmp/head | sed -n 's/^Lambda-Runtime-Aws-Request-Id: //p')
  said=$(curl -s -H "Dormouse-Invocation: $id" -H 'Content-Type: application/json' --data '[1]' $functions/inner | head -c 12)
  large=$(curl -s -H 'Content-Type: text/plain' --data-binary @/tmp/large $functions/inner | wc -c)
  other=$(curl -s -o /dev/null -w '%{http_code}' -H 'Dormouse-Invocation: other' --data '1' $functions/inner)
  nobody=$(curl -s -o /tmp/error -w '%{http_code}' --data '1' $functions/nobody)
  wrong=$(curl -s -o /dev/null -w '%{http_code}' $functions/inner)
  # Gone before it is answered, with a large body and with a small one.
  curl -s -m 0.05 -H 'Content-Type: text/plain' --data-binary @/tmp/large $functions/tarries
  curl -s -m 0.05 --data 1 $functions/tarries
  echo "early $early, said $said, large $large, other $other, nobody $nobody $(cat /tmp/error), wrong $wrong" > /tmp/answer
  curl -s -o /dev/null -H 'Content-Type: text/plain' --data-binary @/tmp/answer $api/2018-06-01/runtime/invocation/$id/response
done
`;
  const done = await platform.deploy({ name: "shell", runtime: "executable", memory: "64MiB" }, { bootstrap: script });
  assert.equal(done.code, 0, done.stderr);
  for (let i = 0; i < 3; ++i) {
    const { text } = await platform.invoke("shell", "1", { "content-type": "application/json" });
    const [, large] = /large (\d+)/.exec(text) ?? [];
    assert.ok(Number(large) > 300_000, text);
    assert.equal(text.replace(large, "N").trim(), 'early 409, said {"got": [1],, large N, other 409, nobody 404 {"error":{"code":"not_found","message":"there is no function \\"nobody\\""}}, wrong 405');
  }
});

// Most of it is waiting, so they wait together.
describe("what is called ends with who called it", { concurrency: true }, () => {
  test("what it calls ends with it, at its deadline or when its client leaves", async () => {
    await deploy("slow", `
import time
def handler(event, context):
    time.sleep(20)
`, { timeout: "30s" });
    await deploy("waits", `
import dormouse
def handler(event, context):
    return dormouse.invoke("slow")
`, { timeout: "3s" });
    const answer = await platform.invoke("waits", "null", { "content-type": "application/json" });
    assert.equal(answer.status, 504);
    await eventually("the inner call is over", async () => (await platform.status("slow")).running === 0, 3000);
    await deploy("waits", `
import dormouse
def handler(event, context):
    return dormouse.invoke("slow")
`, { timeout: "20s" });
    const leaving = new AbortController();
    const left = platform.request("POST", "/f/waits", { body: "null", headers: { "content-type": "application/json" }, agent: null, signal: leaving.signal }).catch(() => "left");
    await eventually("it runs", async () => (await platform.status("slow")).running === 1);
    leaving.abort();
    await left;
    await eventually("the inner call is over", async () => (await platform.status("slow")).running === 0, 3000);
  });

  test("of two calls in one Node, what the one called ends with it, and what the other called does not", async () => {
    await deployNode("pauses", `
export async function handler(ms) { await new Promise((done) => setTimeout(done, ms)); return "rested"; }
`, { concurrency: 10, max_instances: 1 });
    await deployNode("node-waits", `
export async function handler(ms) { await null; return dormouse.invoke("pauses", ms); }
`, { concurrency: 10, max_instances: 1 });
    assert.equal(await call("node-waits", 1), "rested");
    const running = async () => (await platform.status("pauses")).running;
    const leaving = new AbortController();
    const left = platform.request("POST", "/f/node-waits", { body: "20000", headers: { "content-type": "application/json" }, agent: null, signal: leaving.signal }).catch(() => "left");
    await eventually("the first runs", async () => (await running()) === 1);
    const stays = call("node-waits", 2000);
    await eventually("both run", async () => (await running()) === 2);
    leaving.abort();
    assert.equal(await left, "left");
    await eventually("what the first called is over", async () => (await running()) === 1, 1500);
    assert.equal(await stays, "rested");
  });

  test("an HTTP server calls by the loopback that it finds in DORMOUSE_API", async () => {
    const server = `
import http from "node:http";
const functions = "http://" + process.env.DORMOUSE_API + "/dormouse/v1/functions/";
const early = await fetch(functions + "inner", { method: "POST", body: "1" }).then(async (got) => [got.status, await got.json()]);
http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const { searchParams: asked } = new URL(request.url, "http://x");
  const within = { other: "0192b5f0-0000-7000-8000-000000000000", nil: "00000000-0000-0000-0000-000000000000", odd: "odd", none: undefined }[asked.get("as")];
  const headers = { "content-type": asked.get("type") ?? "application/json" };
  const id = asked.has("as") ? within : request.headers["dormouse-invocation"];
  if (id) headers["dormouse-invocation"] = id;
  const got = await fetch(functions + (asked.get("name") ?? "inner"), { method: asked.get("method") ?? "POST", headers, body: asked.has("method") ? undefined : Buffer.concat(parts) });
  const type = got.headers.get("content-type");
  response.writeHead(got.status, { "content-type": type, early: JSON.stringify(early) });
  response.end(Buffer.from(await got.arrayBuffer()));
}).listen(process.env.PORT);
`;
    const manifest = { name: "asking", runtime: "web", command: ["node", "app.mjs"], memory: "256MiB", concurrency: 50, timeout: "3s", max_instances: 1 };
    const done = await platform.deploy(manifest, { "app.mjs": server });
    assert.equal(done.code, 0, done.stderr);
    const ask = async (query, body = "[1]") => {
      const { status, text, headers } = await platform.request("POST", `/f/asking/?${query}`, { body });
      return { status, headers, said: text.startsWith("{") ? JSON.parse(text) : text };
    };
    const first = await ask("");
    assert.deepEqual(first.said.got, [1]);
    assert.equal(JSON.parse(first.headers.early)[0], 409);
    assert.equal((await ask("name=node-self", "null")).said, "15"); // It is the first call itself.
    const { receipts } = JSON.parse((await platform.request("GET", `/api/v1/invocations/${first.said.id}`)).text);
    assert.deepEqual([receipts[0].function, receipts[0].outcome], ["inner", "answered"]);
    const large = "x".repeat(1_000_000);
    assert.equal((await ask("type=text/plain", large)).said.got, large);
    const long = "L".repeat(64);
    await deploy(long, echo);
    assert.deepEqual((await ask(`name=${long}`)).said.got, [1]);
    assert.deepEqual((await ask("as=none")).said.got, [1]);
    const many = await Promise.all(Array.from({ length: 20 }, (_, i) => ask("", `${i}`)));
    assert.deepEqual(many.map(({ said }) => said.got), Array.from({ length: 20 }, (_, i) => i));
    for (const [query, status, code] of [
      ["name=nobody", 404, "not_found"],
      ["name=asking", 415, "unsupported"],
      ["as=other", 409, "conflict"],
      ["as=nil", 409, "conflict"],
      ["as=odd", 400, "invalid_argument"],
      ["method=GET", 405, "unsupported"],
    ]) {
      const { status: got, said } = await ask(query);
      assert.deepEqual([got, said.error?.code], [status, code], query);
    }
    await deploy("forever", "import time\ndef handler(event, context): time.sleep(60)\n", { timeout: "60s" });
    // Each belongs to the request that it is made in: who leaves takes his own along.
    const running = async () => (await platform.status("forever")).running;
    const leaves = new AbortController();
    const gone = fetch(`${platform.url}/f/asking/?name=forever`, { method: "POST", body: "1", signal: leaves.signal }).catch(() => {});
    await eventually("the first runs", async () => (await running()) === 1);
    const stays = ask("name=forever");
    await eventually("the second runs", async () => (await running()) === 2);
    leaves.abort();
    await gone;
    await eventually("one has ended", async () => (await running()) === 1, 1500);
    assert.equal((await stays).status, 504); // At the caller's own deadline,
    await eventually("what it called has ended, too", async () => (await platform.status("forever")).running === 0);
    assert.deepEqual((await ask("")).said.got, [1]);
  });
});
