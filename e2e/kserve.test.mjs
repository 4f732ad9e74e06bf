// KServe v2, field by field, JSON and binary, by a client that shares nothing with the daemon.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import path from "node:path";
import { Platform, repository } from "./platform.mjs";

const testdata = path.join(repository, "runtimes/onnx/testdata");
let platform;
before(async () => {
  platform = await Platform.start({ onnxBlanks: 1 });
  for (const name of ["matmul", "add", "types", "strings", "grows", "unranked", "constant"]) {
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
// Of the numbers that are sent here.
const halves = {
  FP16: new Map([[-0.5, 0xb800], [65504, 0x7bff], [2 ** -24, 0x0001]]),
  BF16: new Map([[-0.5, 0xbf00], [2 ** 127, 0x7f00], [2 ** -133, 0x0001]]),
};
const isLong = (datatype) => /INT64$/.test(datatype);

// JSON with all digits of long integers, which are BigInts here.
const toJson = (value) =>
  JSON.stringify(value, (_, each) => (typeof each === "bigint" ? `${each}n` : each)).replace(/"(-?\d+)n"/g, "$1");
const fromJson = (text) =>
  JSON.parse(text.replace(/(?<=[[,])-?\d{16,}(?=[\],])/g, '"$&n"'), (_, each) =>
    /^-?\d+n$/.test(each) ? BigInt(each.slice(0, -1)) : each);

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
  if (halves[datatype]) return Buffer.from(Uint16Array.from(values, (value) => halves[datatype].get(value)).buffer);
  const [size, write] = numbers[datatype];
  const out = Buffer.alloc(values.length * size);
  values.forEach((value, i) => out[write](isLong(datatype) ? BigInt(value) : value, i * size));
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
  const valueOf = (bits) => [...halves[datatype]].find(([, each]) => each === bits)[0];
  const [size, , read] = numbers[datatype] ?? [2, , "readUInt16LE"];
  for (let at = 0; at < bytes.length; at += size) values.push(bytes[read](at));
  return halves[datatype] ? values.map(valueOf) : values;
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
  const header = Buffer.from(toJson(request));
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
  const document = fromJson(body.subarray(0, size).toString());
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
    if (["FP32", "FP16", "BF16"].includes(output.datatype)) values = values.map(Math.fround);
    if (isLong(output.datatype)) values = values.map(BigInt);
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

// What is long goes through files, and headers of all lengths are in front of it.
test("large tensors in binary and in JSON", async () => {
  const shape = [50_000, 3];
  const large = (name, of, binary) => ({
    name, datatype: "FP32", shape, values: Array.from({ length: count(shape) }, (_, i) => (i % 1000) * of), binary,
  });
  const sums = large("sum", 1.25, true).values;
  for (const [inA, inB, allBinary] of [[true, true, true], [true, true, false], [false, true, true], [true, false, true]]) {
    for (const id of ["a", "ab", "abc"]) {
      const inputs = [large("a", 1, inA), large("b", 0.25, inB)];
      const answer = await infer("add", inputs, { id, allBinary });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.outputs[0].binary, allBinary);
      assert.deepEqual(answer.outputs[0].values, sums);
    }
  }
});

const edges = {
  BOOL: [true, false, true],
  UINT8: [0, 1, 255],
  UINT16: [0, 1, 65535],
  UINT32: [0, 1, 4294967295],
  UINT64: [0n, 9007199254740993n, 18446744073709551615n],
  INT8: [-128, 0, 127],
  INT16: [-32768, 0, 32767],
  INT32: [-2147483648, 0, 2147483647],
  INT64: [-9223372036854775808n, 9007199254740993n, 9223372036854775807n],
  FP16: [...halves.FP16.keys()],
  FP32: [Math.fround(3.4028234e38), -0.5, Math.fround(1e-40)],
  FP64: [1.7976931348623157e308, -0.1, 5e-324],
  BF16: [...halves.BF16.keys()],
};
const named = { FP16: "FLOAT16", FP32: "FLOAT", FP64: "DOUBLE", BF16: "BFLOAT16" };
const inputsOf = (values, shapeOf, binary) =>
  Object.keys(edges).map((datatype) => ({
    name: `in_${named[datatype] ?? datatype}`,
    datatype,
    shape: shapeOf(values[datatype]),
    values: values[datatype],
    binary,
  }));

test("every datatype survives the way there and back, at its edges", async () => {
  const shapeOf = (values) => [values.length];
  for (const binary of [false, true]) {
    for (const allBinary of [false, true]) {
      const answer = await infer("types", inputsOf(edges, shapeOf, binary), { allBinary });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.outputs.length, 13);
      for (const output of answer.outputs) {
        assert.equal(output.binary, allBinary);
        assert.deepEqual(output.values, edges[output.datatype], output.datatype);
      }
    }
  }
  for (const [datatype, value] of [
    ["INT64", 9223372036854775808n],
    ["INT64", -9223372036854775809n],
    ["UINT64", 18446744073709551616n],
    ["UINT64", -1n],
  ]) {
    const { status, text } = await infer("types", inputsOf({ ...edges, [datatype]: [value] }, shapeOf, false));
    assert.equal(status, 400, `${datatype} ${value}: ${text}`);
    assert.match(JSON.parse(text).error, new RegExp(`${datatype} holds`));
  }
});

test("tensors without elements survive it, too", async () => {
  const none = Object.fromEntries(Object.keys(edges).map((datatype) => [datatype, []]));
  const strings = { name: "in", datatype: "BYTES", shape: [0], values: [] };
  for (const binary of [false, true]) {
    for (const allBinary of [false, true]) {
      const answer = await infer("types", inputsOf(none, () => [0], binary), { allBinary });
      assert.equal(answer.status, 200, answer.text);
      for (const { shape, values } of answer.outputs) assert.deepEqual([shape, values], [[0], []]);
      const [a, b] = ["a", "b"].map((name) => ({ name, datatype: "FP32", shape: [0, 3], values: [], binary }));
      const { outputs } = await infer("add", [a, b], { allBinary });
      assert.deepEqual(outputs, [{ name: "sum", datatype: "FP32", shape: [0, 3], values: [], binary: allBinary }]);
      const words = await infer("strings", [{ ...strings, binary }], { allBinary });
      assert.deepEqual([words.outputs[0].shape, words.outputs[0].values], [[0], []]);
      const any = await infer("unranked", [{ name: "x", datatype: "FP32", shape: [2, 0, 3], values: [], binary }]);
      assert.deepEqual(any.outputs[0].shape, [2, 0, 3]);
    }
  }
});

test("a model may give more rows than its shape declares, from the first call of an instance on", async () => {
  for (const total of [1, 3, 1, 20_000, 0, 40_000]) {
    const counts = { name: "counts", datatype: "INT64", shape: [1], values: [BigInt(total)] };
    const answer = await infer("grows", [counts], { allBinary: true });
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.outputs[0].shape, [total]);
    assert.equal(answer.outputs[0].values.at(-1), total ? BigInt(total - 1) : undefined);
  }
});

test("a model may leave open how many dimensions there are, or take nothing", async () => {
  const { inputs } = JSON.parse((await platform.request("GET", "/v2/models/unranked")).text);
  assert.deepEqual(inputs, [{ name: "x", datatype: "FP32", shape: [] }]);
  for (const [shape, values] of [[[], [1]], [[2], [1, 2]], [[2, 3], [1, 2, 3, 4, 5, 6]], [[1, 1, 2], [1, 2]]]) {
    for (const binary of [false, true]) {
      const answer = await infer("unranked", [{ name: "x", datatype: "FP32", shape, values, binary }]);
      assert.equal(answer.status, 200, answer.text);
      assert.deepEqual([answer.outputs[0].shape, answer.outputs[0].values], [shape, values.map((each) => -each)]);
    }
  }
  assert.deepEqual(await platform.callJson("unranked", { x: [[1, 2], [3, 4]] }), { y: [[-1, -2], [-3, -4]] });
  assert.deepEqual(await platform.callJson("unranked", 5), { y: -5 });
  const { outputs } = await infer("constant", []);
  assert.deepEqual(outputs, [{ name: "y", datatype: "FP32", shape: [2], values: [1.5, -2], binary: false }]);
  assert.deepEqual(await platform.callJson("constant", {}), { y: [1.5, -2] });
  const more = await infer("constant", [x]);
  assert.equal(more.status, 400);
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
