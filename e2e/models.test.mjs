// ONNX models through both dialects, and deploys that go wrong. The KServe client here is its own.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, repository } from "./platform.mjs";

const testdata = path.join(repository, "runtimes/onnx/testdata");
let platform;
before(async () => {
  platform = await Platform.start({ onnxBlanks: 1 });
  const { code, stderr } = await platform.cli("deploy", path.join(testdata, "matmul.onnx"));
  assert.equal(code, 0, stderr);
});
after(async () => assert.deepEqual(await platform.stop(), { code: 0, signal: null }));

const jsonCall = (target, value) =>
  platform.request("POST", target, {
    body: JSON.stringify(value),
    headers: { "content-type": "application/json" },
  });

// Ones in whatever shape the model declares, lengths that vary being 2.
async function inputs() {
  const { text } = await platform.request("GET", "/v2/models/matmul");
  const metadata = JSON.parse(text);
  return {
    metadata,
    inputs: metadata.inputs.map(({ name, datatype, shape }) => {
      const fixed = shape.map((each) => (each < 0 ? 2 : each));
      const count = fixed.reduce((a, b) => a * b, 1);
      return { name, datatype, shape: fixed, data: Array(count).fill(1) };
    }),
  };
}

test("KServe metadata and health are as the protocol says", async () => {
  const server = JSON.parse((await platform.request("GET", "/v2")).text);
  assert.equal(server.name, "dormouse");
  assert.deepEqual(server.extensions, ["binary_tensor_data"]);
  assert.equal((await platform.request("GET", "/v2/health/live")).status, 200);
  assert.equal((await platform.request("GET", "/v2/health/ready")).status, 200);
  const { metadata } = await inputs();
  assert.equal(metadata.name, "matmul");
  assert.deepEqual(metadata.versions, ["1"]);
  assert.equal(metadata.platform, "onnxruntime_onnx");
  assert.equal((await platform.request("GET", "/v2/models/none")).status, 404);
  assert.ok(JSON.parse((await platform.request("GET", "/v2/models/none")).text).error);
});

test("KServe infer: JSON, binary in and out, and their answers agree", async () => {
  const { inputs: json } = await inputs();
  const plain = await jsonCall("/v2/models/matmul/infer", { id: "7", inputs: json });
  assert.equal(plain.status, 200, plain.text);
  const answer = JSON.parse(plain.text);
  assert.equal(answer.id, "7");
  assert.equal(answer.model_name, "matmul");
  assert.equal(answer.model_version, "1");
  const [output] = answer.outputs;
  assert.equal(output.data.length, output.shape.reduce((a, b) => a * b, 1));

  const tensors = json.map(({ data }) => Buffer.from(new Float32Array(data).buffer));
  const header = JSON.stringify({
    inputs: json.map(({ name, datatype, shape }, i) => ({
      name,
      datatype,
      shape,
      parameters: { binary_data_size: tensors[i].length },
    })),
    parameters: { binary_data_output: true },
  });
  const binary = await platform.request("POST", "/v2/models/matmul/infer", {
    body: Buffer.concat([Buffer.from(header), ...tensors]),
    headers: {
      "content-type": "application/octet-stream",
      "inference-header-content-length": String(header.length),
    },
  });
  assert.equal(binary.status, 200, binary.text);
  const size = Number(binary.headers["inference-header-content-length"]);
  const head = JSON.parse(binary.body.subarray(0, size).toString());
  const bytes = binary.body.subarray(size);
  const sizes = head.outputs.map(({ parameters }) => parameters.binary_data_size);
  assert.equal(sizes.reduce((a, b) => a + b, 0), bytes.length);
  const values = Array.from({ length: sizes[0] / 4 }, (_, i) => bytes.readFloatLE(i * 4));
  assert.deepEqual(values, output.data);
});

test("KServe errors name what is wrong", async () => {
  const { inputs: json } = await inputs();
  const [first] = json;
  for (const [wrong, said] of [
    [{ ...first, name: "nothing" }, /no input "nothing"/],
    [{ ...first, datatype: "FP64" }, /datatype/],
    [{ ...first, data: [1] }, /values|shape/],
  ]) {
    const { status, text } = await jsonCall("/v2/models/matmul/infer", { inputs: [wrong] });
    assert.equal(status, 400);
    assert.match(JSON.parse(text).error, said);
  }
});

test("the native dialect takes and gives nested JSON", async () => {
  const { inputs: json } = await inputs();
  const nest = (data, [length, ...rest]) =>
    length === undefined ? data[0] : Array.from({ length }, () => nest(data, rest));
  const body = Object.fromEntries(json.map(({ name, data, shape }) => [name, nest(data, shape)]));
  const { status, text, headers } = await jsonCall("/f/matmul", body);
  assert.equal(status, 200, text);
  assert.match(headers["content-type"], /json/);
  assert.ok(Object.values(JSON.parse(text)).every(Array.isArray));
  const bad = await jsonCall("/f/matmul", { nothing: 1 });
  assert.equal(bad.status, 400);
  assert.match(JSON.parse(bad.text).error.message, /no input "nothing"/);
});

test("a deploy that fails leaves the old revision serving, and says why", async () => {
  const broken = path.join(platform.dir, "broken");
  mkdirSync(broken);
  writeFileSync(path.join(broken, "model.onnx"), "this is no model");
  writeFileSync(path.join(broken, "dormouse.yaml"), "name: matmul\nruntime: onnx\nmodel: model.onnx\n");
  const failed = await platform.cli("deploy", broken);
  assert.notEqual(failed.code, 0);
  assert.match(failed.stderr, /model/);
  const { inputs: json } = await inputs();
  assert.equal((await jsonCall("/v2/models/matmul/infer", { inputs: json })).status, 200);
});

test("the same deploy again changes nothing; another can be rolled back", async () => {
  const again = await platform.cli("deploy", path.join(testdata, "matmul.onnx"));
  assert.equal(again.code, 0, again.stderr);
  const revisions = async () => (await platform.json("revisions", "matmul")).revisions;
  assert.equal((await revisions()).length, 1);
  const other = path.join(platform.dir, "other");
  mkdirSync(other);
  copyFileSync(path.join(testdata, "mlp.onnx"), path.join(other, "model.onnx"));
  writeFileSync(path.join(other, "dormouse.yaml"), "name: matmul\nruntime: onnx\nmodel: model.onnx\n");
  const second = await platform.cli("deploy", other);
  assert.equal(second.code, 0, second.stderr);
  assert.equal((await platform.status("matmul")).revision, 2);
  assert.equal((await platform.cli("rollback", "matmul")).code, 0);
  assert.equal((await platform.status("matmul")).revision, 1);
  const { inputs: json } = await inputs();
  assert.equal((await jsonCall("/v2/models/matmul/infer", { inputs: json })).status, 200);
});

test("a manifest's mistakes are named with what was meant", async () => {
  const dir = path.join(platform.dir, "typo");
  mkdirSync(dir);
  writeFileSync(path.join(dir, "dormouse.yaml"), "name: typo\nruntime: onnx\nmemroy: 1GiB\n");
  const { code, stderr } = await platform.cli("deploy", dir);
  assert.notEqual(code, 0);
  assert.match(stderr, /memroy/);
  assert.match(stderr, /memory/);
});

test("the example reads its pictures without an error", async () => {
  const example = path.join(repository, "examples/read-text-line");
  const { code, stderr } = await platform.cli("deploy", example);
  assert.equal(code, 0, stderr);
  for (const name of ["sleeps", "invoice"]) {
    const { status, text } = await platform.request("POST", "/f/read-text-line", {
      body: readFileSync(path.join(example, `${name}.png`)),
      headers: { "content-type": "image/png" },
    });
    assert.equal(status, 200, text);
    assert.equal(JSON.parse(text).text, readFileSync(path.join(example, `${name}.txt`), "utf8").trim());
  }
  const { status } = await platform.request("POST", "/f/read-text-line", {
    body: "not a picture",
    headers: { "content-type": "image/gif" },
  });
  assert.equal(status, 415);
});
