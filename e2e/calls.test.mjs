// Functions that call each other: through the wire, without a network.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import path from "node:path";
import { Platform, eventually, repository } from "./platform.mjs";

let platform;
before(async () => (platform = await Platform.start({ onnxBlanks: 1 })));
after(() => platform.stopLeavingNothing());

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

test("a model is called with arrays, and answers with arrays", async () => {
  const done = await platform.cli("deploy", path.join(repository, "runtimes/onnx/testdata/add.onnx"));
  assert.equal(done.code, 0, done.stderr);
  const code = `
import dormouse, numpy
def handler(event, context):
    given = {name: numpy.full(shape, value, kind) for name, shape, value, kind in event}
    return {name: [str(array.dtype), list(array.shape), array.ravel().tolist()[:4]] for name, array in dormouse.invoke("add", given).items()}
`;
  const manifest = 'name: asks\nruntime: python\nhandler: app.handler\nmemory: 256MiB\npython:\n  packages: host\n';
  const asked = await platform.deploy(manifest, { "app.py": code });
  assert.equal(asked.code, 0, asked.stderr);
  for (const rows of [2, 20_000]) {
    const answer = await call("asks", [["a", [rows, 3], 1, "float32"], ["b", [rows, 3], 2, "float32"]]);
    assert.deepEqual(answer, { sum: ["float32", [rows, 3], [3, 3, 3, 3]] });
  }
});

test("a call that fails says why, and whose name there is not", async () => {
  assert.deepEqual(await call("outer", { what: "nobody" }), ["not_found", 'not_found: there is no function "nobody"']);
  assert.deepEqual(await call("outer", { what: "inner", payload: "fail" }), ["function_failed", "function_failed: ValueError: not that"]);
});

test("recursion stops at a depth of 16", async () => {
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
`, { timeout: "1s" });
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
