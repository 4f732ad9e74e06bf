// KServe v2, field by field, JSON and binary, by a client that shares nothing with the daemon.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import path from "node:path";
import { Platform, repository } from "./platform.mjs";

const testdata = path.join(repository, "runtimes/onnx/testdata");
let platform;
before(async () => {
  platform = await Platform.start({ onnxBlanks: 1 });
  for (const name of ["matmul", "add", "types", "strings"]) {
    const { code, stderr } = await platform.cli("deploy", path.join(testdata, `${name}.onnx`));
    assert.equal(code, 0, stderr);
  }
});
after(() => platform.stop());

// ---- the client: bytes of a datatype, row-major, little endian ----

const numbers = {
  UINT8: [1, "writeUInt8", "readUInt8"],
  UINT16: [2, "writeUInt16LE", "readUInt16LE"],
  UINT32: [4, "writeUInt32LE", "readUInt32LE"],
  UINT64: [8, "writeBigUInt64LE", "readBigUInt64LE"],
  INT8: [1, "writeInt8", "readInt8"],
  INT16: [2, "writeInt16LE", "readInt16LE"],
  INT32: [4, "writeInt32LE", "readInt32LE"],
  INT64: [8, "writeBigInt64LE", "readBigInt64LE"],
  FP32: [4, "writeFloatLE", "readFloatLE"],
  FP64: [8, "writeDoubleLE", "readDoubleLE"],
};

function toBytes(datatype, values) {
  if (datatype === "BOOL") return Buffer.from(values.map(Number));
  if (datatype === "BYTES") {
    const parts = values.map((text) => {
      const bytes = Buffer.from(text);
      const size = Buffer.alloc(4);
      size.writeUInt32LE(bytes.length);
      return Buffer.concat([size, bytes]);
    });
    return Buffer.concat(parts);
  }
  const [size, write] = numbers[datatype];
  const out = Buffer.alloc(values.length * size);
  values.forEach((value, i) =>
    out[write](size === 8 && write.includes("Big") ? BigInt(value) : value, i * size),
  );
  return out;
}

function fromBytes(datatype, bytes) {
  if (datatype === "BOOL") return [...bytes].map(Boolean);
  const values = [];
  if (datatype === "BYTES") {
    for (let at = 0; at < bytes.length;) {
      const size = bytes.readUInt32LE(at);
      values.push(bytes.subarray(at + 4, at + 4 + size).toString());
      at += 4 + size;
    }
    return values;
  }
  const [size, , read] = numbers[datatype];
  for (let at = 0; at < bytes.length; at += size) values.push(Number(bytes[read](at)));
  return values;
}

const count = (shape) => shape.reduce((a, b) => a * b, 1);

// `inputs`: {name, datatype, shape, values, binary}. Checks all that the protocol says of answers.
async function infer(model, inputs, { id, outputs, allBinary, target } = {}) {
  const tails = [];
  const described = inputs.map(({ name, datatype, shape, values, binary }) => {
    if (!binary) return { name, datatype, shape, data: values };
    const bytes = toBytes(datatype, values);
    tails.push(bytes);
    return { name, datatype, shape, parameters: { binary_data_size: bytes.length } };
  });
  const request = { inputs: described };
  if (id !== undefined) request.id = id;
  if (outputs) request.outputs = outputs;
  if (allBinary) request.parameters = { binary_data_output: true };
  const header = Buffer.from(JSON.stringify(request));
  const headers = tails.length
    ? {
        "content-type": "application/octet-stream",
        "inference-header-content-length": String(header.length),
      }
    : { "content-type": "application/json" };
  const answer = await platform.request("POST", target ?? `/v2/models/${model}/infer`, {
    body: Buffer.concat([header, ...tails]),
    headers,
  });
  if (answer.status !== 200) return answer;
  return { ...answer, ...read(answer, { model, id }) };
}

function read({ headers, body }, { model, id }) {
  const length = headers["inference-header-content-length"];
  const size = length === undefined ? body.length : Number(length);
  assert.equal(
    headers["content-type"],
    length === undefined ? "application/json" : "application/octet-stream",
  );
  const document = JSON.parse(body.subarray(0, size).toString());
  assert.equal(document.model_name, model);
  assert.match(document.model_version, /^\d+$/);
  assert.equal(document.id, id);
  for (const key of Object.keys(document)) {
    assert.ok(["model_name", "model_version", "id", "parameters", "outputs"].includes(key), key);
  }
  let at = size;
  const outputs = document.outputs.map((output) => {
    const binary = output.parameters?.binary_data_size;
    assert.ok((binary === undefined) !== (output.data === undefined), "either data or bytes");
    const bytes = body.subarray(at, at + (binary ?? 0));
    at += binary ?? 0;
    let values = binary === undefined ? output.data : fromBytes(output.datatype, bytes);
    // JSON has the shortest digits.
    if (output.datatype === "FP32") values = values.map(Math.fround);
    assert.equal(values.length, count(output.shape));
    return {
      name: output.name,
      datatype: output.datatype,
      shape: output.shape,
      values,
      binary: binary !== undefined,
    };
  });
  assert.equal(at, body.length, "no byte belongs to nothing");
  return { outputs };
}

const x = { name: "x", datatype: "FP32", shape: [1, 4], values: [1, 2, 3, 4] };
const y = { name: "y", datatype: "FP32", shape: [1, 2], values: [40, 50], binary: false };
const z = { name: "z", datatype: "FP32", shape: [1, 2], values: [-40, -50], binary: false };

// ---- metadata ----

test("server metadata and health", async () => {
  const server = JSON.parse((await platform.request("GET", "/v2")).text);
  assert.equal(server.name, "dormouse");
  assert.match(server.version, /^\d+\.\d+/);
  assert.deepEqual(server.extensions, ["binary_tensor_data"]);
  assert.equal((await platform.request("GET", "/v2/health/live")).status, 200);
  assert.equal((await platform.request("GET", "/v2/health/ready")).status, 200);
  assert.equal((await platform.request("GET", "/v2/models/matmul/ready")).status, 200);
  assert.equal((await platform.request("GET", "/v2/models/none/ready")).status, 404);
});

test("model metadata", async () => {
  for (const target of ["/v2/models/add", "/v2/models/add/versions/1"]) {
    const { status, text } = await platform.request("GET", target);
    assert.equal(status, 200, text);
    assert.deepEqual(JSON.parse(text), {
      name: "add",
      versions: ["1"],
      platform: "onnxruntime_onnx",
      inputs: [
        { name: "a", datatype: "FP32", shape: [-1, 3] },
        { name: "b", datatype: "FP32", shape: [-1, 3] },
      ],
      outputs: [{ name: "sum", datatype: "FP32", shape: [-1, 3] }],
    });
  }
  assert.equal((await platform.request("GET", "/v2/models/add/versions/7")).status, 404);
});

// ---- infer ----

test("JSON and binary, in and out, mixed, give the same", async () => {
  for (const binaryIn of [false, true]) {
    const input = { ...x, binary: binaryIn };
    assert.deepEqual((await infer("matmul", [input], { id: "an id" })).outputs, [y, z]);
    assert.deepEqual((await infer("matmul", [input], { allBinary: true })).outputs, [
      { ...y, binary: true },
      { ...z, binary: true },
    ]);
    const chosen = { outputs: [{ name: "z", parameters: { binary_data: true } }, { name: "y" }] };
    const { outputs } = await infer("matmul", [input], chosen);
    const byName = Object.fromEntries(outputs.map((each) => [each.name, each]));
    assert.deepEqual(byName, { y, z: { ...z, binary: true } });
    assert.deepEqual((await infer("matmul", [input], { outputs: [{ name: "z" }] })).outputs, [z]);
  }
  const nested = await platform.request("POST", "/v2/models/matmul/infer", {
    body: JSON.stringify({ inputs: [{ ...x, values: undefined, data: [[1, 2, 3, 4]] }] }),
    headers: { "content-type": "application/json" },
  });
  assert.deepEqual(read(nested, { model: "matmul" }).outputs, [y, z]);
  const versioned = await infer("matmul", [x], { target: "/v2/models/matmul/versions/1/infer" });
  assert.deepEqual(versioned.outputs, [y, z]);
});

test("two inputs, one in JSON and one in binary, in any order, of any length", async () => {
  const a = { name: "a", datatype: "FP32", shape: [2, 3], values: [1, 2, 3, 4, 5, 6] };
  const b = {
    name: "b",
    datatype: "FP32",
    shape: [2, 3],
    values: [0.5, 0.25, -1, 0, 1e30, 7],
    binary: true,
  };
  for (const inputs of [
    [a, b],
    [b, a],
    [{ ...a, binary: true }, b],
  ]) {
    const { outputs } = await infer("add", inputs);
    const values = a.values.map((value, i) => Math.fround(value + Math.fround(b.values[i])));
    assert.deepEqual(outputs[0].shape, [2, 3]);
    assert.deepEqual(outputs[0].values, values);
  }
});

test("every datatype survives the way there and back, at its edges", async () => {
  const edges = {
    BOOL: [true, false, true],
    UINT8: [0, 1, 255],
    UINT16: [0, 1, 65535],
    UINT32: [0, 1, 4294967295],
    UINT64: [0, 1, 9007199254740991],
    INT8: [-128, 0, 127],
    INT16: [-32768, 0, 32767],
    INT32: [-2147483648, 0, 2147483647],
    INT64: [-9007199254740991, 0, 9007199254740991],
    FP32: [Math.fround(3.4028234e38), -0.5, Math.fround(1e-40)],
    FP64: [1.7976931348623157e308, -0.1, 5e-324],
  };
  const named = { FP32: "FLOAT", FP64: "DOUBLE" };
  const half = { FP16: ["FLOAT16", [1, -0.5, 65504]], BF16: ["BFLOAT16", [1, -0.5, 256]] };
  const inputs = (binary) => [
    ...Object.entries(edges).map(([datatype, values]) => ({
      name: `in_${named[datatype] ?? datatype}`,
      datatype,
      shape: [values.length],
      values,
      binary,
    })),
    ...Object.entries(half).map(([datatype, [name, values]]) => ({
      name: `in_${name}`,
      datatype,
      shape: [values.length],
      values,
    })),
  ];
  for (const binary of [false, true]) {
    const chosen = Object.keys(edges).map((datatype) => ({
      name: `out_${named[datatype] ?? datatype}`,
      parameters: { binary_data: !binary },
    }));
    const outputs = [...chosen, { name: "out_FLOAT16" }, { name: "out_BFLOAT16" }];
    const answer = await infer("types", inputs(binary), { outputs });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.outputs.length, 13);
    for (const output of answer.outputs) {
      const wanted = edges[output.datatype] ?? half[output.datatype][1];
      assert.deepEqual(output.values, wanted, output.datatype);
    }
  }
});

test("strings of any length and script", async () => {
  const values = ["", "plain", "ünïcödé 日本", "x".repeat(70_000)];
  for (const binary of [false, true]) {
    const input = { name: "in", datatype: "BYTES", shape: [4], values, binary };
    for (const allBinary of [false, true]) {
      const { outputs } = await infer("strings", [input], { allBinary });
      assert.deepEqual(outputs[0].values, values);
      assert.equal(outputs[0].datatype, "BYTES");
    }
  }
});

test("a raw request is the one input's bytes, and is answered in binary", async () => {
  const answer = await platform.request("POST", "/v2/models/matmul/infer", {
    body: toBytes("FP32", x.values),
    headers: { "content-type": "application/octet-stream", "inference-header-content-length": "0" },
  });
  assert.equal(answer.status, 200, answer.text);
  const { outputs } = read(answer, { model: "matmul" });
  assert.deepEqual(outputs, [
    { ...y, binary: true },
    { ...z, binary: true },
  ]);
});

test("errors are {error}, and name what is wrong", async () => {
  for (const [inputs, said, more] of [
    [[{ ...x, name: "nothing" }], /no input "nothing"/],
    [[{ ...x, datatype: "FP64" }], /datatype FP32/],
    [[{ ...x, datatype: "FP99" }], /unknown datatype/],
    [[{ ...x, shape: [1, 5], values: [1, 2, 3, 4, 5] }], /shape \[1, 4\]/],
    [[{ ...x, values: [1] }], /values/],
    [[{ ...x, values: [1, 2, 3, "4"] }], /no number/],
    [[{ ...x, values: [1, 2, 3, 1e39] }], /range/],
    [[x, x], /twice/],
    [[], /missing/],
    [[x], /no output "w"/, { outputs: [{ name: "w" }] }],
  ]) {
    const { status, text } = await infer("matmul", inputs, more);
    assert.equal(status, 400, text);
    const document = JSON.parse(text);
    assert.deepEqual(Object.keys(document), ["error"]);
    assert.match(document.error, said);
  }
  const raw = (body, header) =>
    platform.request("POST", "/v2/models/matmul/infer", {
      body,
      headers: { "inference-header-content-length": header },
    });
  const json = JSON.stringify({
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 4], parameters: { binary_data_size: 16 } }],
  });
  for (const [body, header, said] of [
    [json, "99999", /more than the body/],
    [json, "-1", /number/],
    [json, String(json.length), /bytes that the body has/],
    [json + "x".repeat(17), String(json.length), /belong to no input/],
    ["abc", "0", /do not fit the shape/],
    ["{", "1", /./],
  ]) {
    const { status, text } = await raw(body, header);
    assert.equal(status, 400, text);
    assert.match(JSON.parse(text).error, said);
  }
  const none = await infer("none", [x]);
  assert.equal(none.status, 404);
  assert.match(JSON.parse(none.text).error, /none/);
  assert.match(JSON.parse((await platform.request("GET", "/v2/nowhere")).text).error, /nothing at \/v2\/nowhere/);
  assert.equal((await platform.request("GET", "/v2/models/matmul/infer")).status, 405);
});
