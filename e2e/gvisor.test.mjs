// Under gVisor (`oci_runtime: runsc`): functions of every runtime answer, and none is forked.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, compileNative, repository } from "./platform.mjs";

let platform;
before(async () => (platform = await Platform.start({ config: "sandbox:\n  oci_runtime: runsc\n" })));
after(() => platform.stop());

const json = { "content-type": "application/json" };

async function deploy(name, fields, files) {
  const done = await platform.deploy({ name, memory: "128MiB", ...fields }, files);
  assert.equal(done.code, 0, done.stderr);
  return (await platform.json("show", name)).function.revision.notes;
}

test("Python: with threads, and without a template", async () => {
  const code = `import threading
def handler(event, context):
    said = []
    thread = threading.Thread(target=lambda: said.append([event, context.function_name]))
    thread.start(), thread.join()
    return said[0]`;
  const notes = await deploy("python", { runtime: "python", handler: "app.handler" }, { "app.py": code });
  assert.match(notes.template, /^no: .*does not fork/);
  assert.deepEqual(await platform.callJson("python", 7), [7, "python"]);
});

test("Node: with its threads", async () => {
  const code = "export const handler = async (event, context) => [event, context.functionName];";
  await deploy("node", { runtime: "node", handler: "app.handler" }, { "app.mjs": code });
  assert.deepEqual(await platform.callJson("node", { a: 1 }), [{ a: 1 }, "node"]);
});

test("a shell script, which starts many processes", async () => {
  const done = await platform.cli("deploy", path.join(repository, "examples/shell-bootstrap"));
  assert.equal(done.code, 0, done.stderr);
  for (const name of ["one", "two"]) {
    const answer = await platform.callJson("shell-bootstrap", { name });
    assert.deepEqual([answer.greeting, answer.you_sent], ["Hello!", { name }]);
  }
});

test("a program with dormouse.h", async (t) => {
  const folder = path.join(platform.dir, "native");
  mkdirSync(folder);
  const code = `#include "dormouse.h"
int main(void) {
  if (dormouse_template() != 0) return 1;
  for (struct dormouse_call call; dormouse_next(&call) == 1;)
    dormouse_answer(&call, "text/plain", call.body, call.size);
  return 0;
}
`;
  writeFileSync(path.join(folder, "native.c"), code);
  if (!compileNative(folder)) return t.skip("there is no C compiler");
  const bootstrap = readFileSync(path.join(folder, "bootstrap"));
  const notes = await deploy("native", { runtime: "executable" }, { bootstrap });
  assert.match(notes.template, /^no: /);
  assert.equal((await platform.invoke("native", "once")).text, "once");
});

test("an ONNX model", async () => {
  const done = await platform.cli("deploy", path.join(repository, "runtimes/onnx/testdata/matmul.onnx"));
  assert.equal(done.code, 0, done.stderr);
  const { status, text } = await platform.invoke("matmul", JSON.stringify({ x: [[1, 2, 3, 4]] }), json);
  assert.equal(status, 200, text);
});

test("a language model", async () => {
  const model = readFileSync(path.join(repository, "runtimes/llm/testdata/llama.gguf"));
  await deploy("chat", { runtime: "llm", model: "model.gguf", memory: "256MiB" }, { "model.gguf": model });
  const body = JSON.stringify({ model: "chat", messages: [{ role: "user", content: "Hello" }], max_tokens: 3 });
  const { status, text } = await platform.request("POST", "/v1/chat/completions", { body, headers: json });
  assert.equal(status, 200, text);
  assert.equal(JSON.parse(text).usage.completion_tokens, 3);
});

test("a program that is spoken to over HTTP is refused, with the reason", async () => {
  const code = "require('http').createServer((_, response) => response.end('hi')).listen(process.env.PORT);";
  const manifest = { name: "web", runtime: "web", command: ["node", "server.js"] };
  const { code: status, stderr } = await platform.deploy(manifest, { "server.js": code });
  assert.notEqual(status, 0);
  assert.match(stderr, /under runsc .*spoken to over HTTP/);
});

test("S4: using more memory than declared is an OutOfMemory, and the sibling lives", async () => {
  const code = `calls = 0
def handler(event, context):
    global calls
    calls += 1
    return [calls, len(bytearray(b"x") * (event << 20))]`;
  for (const name of ["glutton", "sibling"]) {
    await deploy(name, { runtime: "python", handler: "app.handler" }, { "app.py": code });
    assert.deepEqual(await platform.callJson(name, 1), [1, 1 << 20]);
  }
  const { status, text } = await platform.invoke("glutton", "500", json);
  assert.equal(status, 502, text);
  assert.match(JSON.parse(text).error.message, /OutOfMemory/);
  assert.deepEqual(await platform.callJson("sibling", 1), [2, 1 << 20]);
  assert.deepEqual(await platform.callJson("glutton", 1), [1, 1 << 20]);
});

test("fork bombs end their own sandbox, and the next call is answered", async () => {
  const code = `import os
def handler(event, context):
    while event == "bomb":
        try: os.fork()
        except OSError: pass
    return event`;
  await deploy("bomb", { runtime: "python", handler: "app.handler", timeout: "5s" }, { "app.py": code });
  const { status, text } = await platform.invoke("bomb", '"bomb"', json);
  assert.ok(status === 502 || status === 504, `${status} ${text}`);
  assert.equal(await platform.callJson("bomb", "well"), "well");
  assert.deepEqual(await platform.callJson("node", 1), [1, "node"]);
});

test("doctor says that there are no templates", async () => {
  const { stdout } = await platform.cli("doctor", "--oci-runtime", "runsc");
  assert.match(stdout, /degraded +no templates under runsc/);
});
