// Functions that call models with tensors: from Python, Node, C and any program over HTTP.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, compileNative, repository } from "./platform.mjs";
import { bodyOf, tensor, tensorsOf } from "../runtimes/node/tensors.mjs";

let platform;
before(async () => {
  platform = await Platform.start({ onnxBlanks: 1 });
  const done = await platform.cli("deploy", path.join(repository, "runtimes/onnx/testdata/add.onnx"));
  assert.equal(done.code, 0, done.stderr);
});
after(() => platform.stop());

const call = (name, event) => platform.callJson(name, event);

async function deployNode(name, code) {
  const done = await platform.deploy({ name, runtime: "node", handler: "app.handler", memory: "256MiB" }, { "app.mjs": code });
  assert.equal(done.code, 0, done.stderr);
}

test("a model is called with arrays, and answers with arrays", async () => {
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


// Adds rows of ones and twos by the model, and says what came of it.
const adder = `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dormouse.h"
int main(void) {
  if (dormouse_template() != 0) return 1;
  for (struct dormouse_call call; dormouse_next(&call) == 1;) {
    int rows = 0, count = 2;
    char name[20] = "", said[300];
    sscanf(call.body, "%d %d %19s", &rows, &count, name);
    float* values = calloc(rows * 6, sizeof *values);
    for (int i = 0; i < rows * 6; ++i) values[i] = i < rows * 3 ? 1 : 2;
    struct dormouse_tensor* inputs = calloc(count, sizeof *inputs);
    for (int i = 0; i < count; ++i)
      inputs[i] = (struct dormouse_tensor){i ? "b" : name, DORMOUSE_FP32, 2, {rows, 3}, values + (i ? rows * 3 : 0), rows * 12};
    struct dormouse_reply reply;
    if (dormouse_invoke_tensors(&call, "add", inputs, count, &reply)) return 3;
    if (reply.failed) {
      snprintf(said, sizeof said, "%s: %s", reply.failed, (char*)reply.body);
    } else {
      const struct dormouse_tensor* sum = reply.tensors;
      const float* data = sum->data;
      snprintf(said, sizeof said, "%zu %s %d %d [%d, %d] %zu %g %g", reply.tensor_count, sum->name, sum->datatype, sum->dimensions,
               (int)sum->shape[0], (int)sum->shape[1], sum->size, data[0], data[rows * 3 - 1]);
    }
    dormouse_answer(&call, "text/plain", said, strlen(said));
    free(reply.body), free(inputs), free(values);
  }
  return 0;
}
`;

test("a native program calls a model with tensors", async (t) => {
  const folder = path.join(platform.dir, "native-adder");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "dormouse.yaml"), "name: native-adder\nruntime: executable\nmemory: 64MiB\n");
  writeFileSync(path.join(folder, "native.c"), adder);
  if (!compileNative(folder, "dormouse_invoke.c")) return t.skip("there is no C compiler");
  const done = await platform.cli("deploy", folder);
  assert.equal(done.code, 0, done.stderr);
  const said = (body) => platform.invoke("native-adder", body).then(({ text }) => text);
  for (const rows of [2, 20_000, 3]) {
    assert.equal(await said(`${rows} 2 a`), `1 sum 10 2 [${rows}, 3] ${rows * 12} 3 3`);
  }
  assert.match(await said("2 1 a"), /^invalid_argument: .*"?b"?/);
  assert.match(await said("2 2 c"), /^invalid_argument: /);
  assert.match(await said("1 257 a"), /^invalid_argument: at most 256 tensors/);
  assert.match(await said("2 2 a"), /^1 sum /);
});

// What one side writes is what the other reads, but for who gives it.
test("in Node a tensor keeps its values on the way, whatever its type", () => {
  const given = {
    whole: tensor([1, -2, 3], [3], "INT16"),
    long: tensor(new BigInt64Array([1n << 60n, -1n])),
    real: tensor(new Float64Array([0.1, -0, Infinity, 1e300]).subarray(1), [3, 1]),
    bits: tensor(new Uint16Array([0x3c00]), [1], "FP16"),
    flags: tensor([true, false]),
    words: tensor(["ü", Buffer.from([0, 255]), ""], [3]),
    none: tensor(new Float32Array(0), [0, 7]),
    one: tensor(new Uint8Array([9]), []),
  };
  const [length, body] = bodyOf(given);
  const header = Buffer.from(body.toString("utf8", 0, length).replace("inputs", "outputs"));
  const back = tensorsOf(Buffer.concat([header, body.subarray(length)]), header.length);
  assert.deepEqual({ ...back, words: undefined, flags: undefined }, { ...given, words: undefined, flags: undefined });
  assert.deepEqual(back.words.data.map((each) => each.toString("latin1")), ["Ã¼", "\0ÿ", ""]);
  assert.deepEqual([...back.flags.data], [1, 0]);
  for (const [arguments_, why] of [
    [[[1, 2]], /say the datatype/], [[new Float32Array(2), [3]], /2 values, and the shape \[3\] has 3/], [["text"], /array or a typed array/],
    [[new Float32Array(2), [-2]], /array of lengths/], [[new Float32Array(2), [2], "FP8"], /no datatype "FP8"/], [[[1], [1], "constructor"], /no datatype/],
    [[new Float32Array(2), [2], "INT32"], /INT32 is a Int32Array/], [[[1], [1], "INT64"], /BigInt/],
  ]) {
    assert.throws(() => tensor(...arguments_), why);
  }
});

test("Node calls a model with tensors, and has its tensors", async () => {
  await deployNode("asks-node", `
export async function handler({ rows, names, wrong, plain }) {
  const given = Object.fromEntries(names.map((name, at) => [name, dormouse.tensor(new Float32Array(rows * 3).fill(at + 1), [rows, 3])]));
  try {
    if (plain) return await dormouse.invoke("add", plain);
    const { sum, ...others } = await dormouse.invoke("add", wrong ? { ...given, wrong } : given);
    return [sum.datatype, sum.shape, sum.data.constructor.name, [...sum.data.slice(0, 4)], sum.data.length, Object.keys(others)];
  } catch (error) {
    return [error.code ?? error.name, error.message];
  }
}
`);
  for (const rows of [2, 20_000]) {
    const answer = await call("asks-node", { rows, names: ["a", "b"] });
    assert.deepEqual(answer, ["FP32", [rows, 3], "Float32Array", [3, 3, 3, 3], rows * 3, []]);
  }
  assert.deepEqual(await call("asks-node", { rows: 2, names: ["a"] }).then(([code]) => code), "invalid_argument");
  assert.deepEqual(await call("asks-node", { rows: 2, names: ["a"], wrong: 1 }), ["TypeError", "tensors go with tensors alone"]);
  assert.deepEqual(await call("asks-node", { rows: 0, names: [], plain: { a: 1 } }).then(([code]) => code), "unsupported");
});

test("bodies of tensors that are malformed are refused by the member that is wrong", async () => {
  await deployNode("raw", `
export async function handler({ length, header, bytes }) {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const got = await fetch("http://" + process.env.DORMOUSE_API + "/dormouse/v1/functions/add", {
    method: "POST", headers: { "Inference-Header-Content-Length": length ?? Buffer.byteLength(text) },
    body: Buffer.concat([Buffer.from(text), Buffer.alloc(bytes)]),
  });
  return [got.status, got.headers.get("inference-header-content-length"), await got.text()];
}
`);
  const input = (name, more = {}) => ({ name, datatype: "FP32", shape: [1, 3], parameters: { binary_data_size: 12 }, ...more });
  const both = { inputs: [input("a"), input("b")] };
  const [status, length, text] = await call("raw", { header: { id: "x", ...both }, bytes: 24 });
  assert.equal(status, 200);
  const outputs = [{ name: "sum", datatype: "FP32", shape: [1, 3], parameters: { binary_data_size: 12 } }];
  assert.deepEqual(JSON.parse(text.slice(0, Number(length))), { outputs });
  for (const [asked, why] of [
    [{ header: both, bytes: 24, length: "x" }, "Inference-Header-Content-Length: expected a number"],
    [{ header: both, bytes: 24, length: 100_000 }, "Inference-Header-Content-Length: more than the body has"],
    [{ header: "{", bytes: 0 }, "its first part is not a JSON object"],
    [{ header: { inputs: 1 }, bytes: 0 }, "inputs: expected a list"],
    [{ header: { ...both, outputs: [] }, bytes: 24 }, "outputs: not taken here"],
    [{ header: { inputs: [1] }, bytes: 0 }, "inputs[0]: expected an object"],
    [{ header: { inputs: [input("a"), input(7)] }, bytes: 24 }, "inputs[1].name: "],
    [{ header: { inputs: [input("a", { datatype: "FP8" })] }, bytes: 12 }, "inputs[0].datatype: "],
    [{ header: { inputs: [input("a", { shape: [-1, 3] })] }, bytes: 12 }, "inputs[0].shape: "],
    [{ header: { inputs: [input("a", { parameters: {}, data: [1, 2, 3] })] }, bytes: 0 }, "inputs[0].parameters.binary_data_size: "],
    [{ header: { inputs: [input("a", { parameters: { binary_data_size: 2 ** 52 } })] }, bytes: 12 }, "inputs[0].parameters.binary_data_size: more"],
    [{ header: both, bytes: 25 }, "the body has bytes that belong to no input"],
    [{ header: { inputs: [input("a", { shape: [3, 3] })] }, bytes: 12 }, "36"],
  ]) {
    const [status, , text] = await call("raw", asked);
    assert.equal(status, 400, text);
    const { code, message } = JSON.parse(text).error;
    assert.equal(code, "invalid_argument");
    assert.ok(message.includes(why), `${message} has no ${why}`);
  }
});
