// Tensors in JavaScript, and as bodies of two parts: JSON that names them, then their bytes, one
// after the other (KServe v2 with its binary tensor extension). Values are row-major and little
// endian, as typed arrays are on all processors that Node runs on.
//
// A tensor is { datatype, shape, data }, made by tensor(data, shape, datatype). `data` is the typed
// array of its datatype: BOOL a Uint8Array of 0 and 1, FP16 and BF16 a Uint16Array of their bits,
// BYTES an array of Buffers (strings are taken, too).
export const HEADER_LENGTH = "inference-header-content-length";

const KINDS = {
  FP32: Float32Array, FP64: Float64Array, INT8: Int8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array,
  UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, UINT64: BigUint64Array,
  BOOL: Uint8Array, FP16: Uint16Array, BF16: Uint16Array, BYTES: Array,
};

class Tensor {
  constructor(datatype, shape, data) {
    Object.assign(this, { datatype, shape, data });
    Object.freeze(this);
  }
}

// Of numbers in a plain array, `datatype` says what they become; of a typed array and of strings it
// is known. Without a shape it has one dimension.
export function tensor(data, shape = [data?.length], datatype = typeOf(data)) {
  if (!Object.hasOwn(KINDS, datatype)) throw new TypeError(`tensor: no datatype "${datatype}"; there are ${Object.keys(KINDS).join(", ")}`);
  const kind = KINDS[datatype];
  if (!Array.isArray(shape) || !shape.every((length) => Number.isSafeInteger(length) && length >= 0)) {
    throw new TypeError("tensor: the shape is an array of lengths");
  }
  const values = data instanceof kind ? data : Array.isArray(data) ? kind.from(data) : undefined;
  if (values === undefined) throw new TypeError(`tensor: ${datatype} is a ${kind.name} here`);
  const count = shape.reduce((product, length) => product * length, 1);
  if (values.length !== count) throw new RangeError(`tensor: ${values.length} values, and the shape [${shape}] has ${count}`);
  return new Tensor(datatype, [...shape], values);
}

function typeOf(data) {
  if (Array.isArray(data)) {
    if (data.every((each) => typeof each === "string" || each instanceof Uint8Array)) return "BYTES";
    if (data.every((each) => typeof each === "boolean")) return "BOOL";
    throw new TypeError('tensor: of numbers in an array, say the datatype ("FP32", …), or give a typed array');
  }
  const found = Object.entries(KINDS).find(([, kind]) => data instanceof kind);
  if (found === undefined) throw new TypeError("tensor: the data is an array or a typed array");
  return found[0];
}

// An object of nothing but tensors, by their names.
export function isTensors(payload) {
  if (payload === null || typeof payload !== "object") return false;
  const tensors = Object.values(payload).filter((each) => each instanceof Tensor).length;
  if (tensors > 0 && tensors < Object.keys(payload).length) throw new TypeError("tensors go with tensors alone");
  return tensors > 0;
}

// How long the first part is, and both.
export function bodyOf(tensors) {
  const inputs = [], parts = [];
  for (const [name, { datatype, shape, data }] of Object.entries(tensors)) {
    const bytes = datatype === "BYTES" ? elementsOf(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    inputs.push({ name, datatype, shape, parameters: { binary_data_size: bytes.length } });
    parts.push(bytes);
  }
  const header = Buffer.from(JSON.stringify({ inputs }));
  return [header.length, Buffer.concat([header, ...parts])];
}

// Each behind its length.
function elementsOf(data) {
  const parts = data.flatMap((each) => {
    const bytes = Buffer.from(each);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return [length, bytes];
  });
  return Buffer.concat(parts);
}

export function tensorsOf(body, headerLength) {
  const { outputs } = JSON.parse(body.toString("utf8", 0, headerLength));
  let at = headerLength;
  const named = outputs.map(({ name, datatype, shape, parameters }) => {
    const bytes = body.subarray(at, (at += parameters.binary_data_size));
    return [name, new Tensor(datatype, shape, datatype === "BYTES" ? splitElements(bytes) : valuesOf(KINDS[datatype], bytes))];
  });
  return Object.fromEntries(named);
}

// A copy: where the bytes lie in the body, such values may not begin.
function valuesOf(kind, bytes) {
  return new kind(Uint8Array.from(bytes).buffer);
}

function splitElements(bytes) {
  const elements = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32LE(at);
    elements.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return elements;
}
