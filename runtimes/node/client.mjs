// What a function's code has as the global `dormouse`: calls of other functions.
//
//     const line = await dormouse.invoke("read-text-line", picture, { contentType: "image/png" });
//     const { scores } = await dormouse.invoke("classifier", { input: dormouse.tensor(pixels, [1, 64]) });
//
// The payload  A Buffer or any other view of bytes goes as it is (`contentType`, or
//              application/octet-stream); an object of tensors as those; everything else as JSON.
// The result   The value of a JSON answer; text/… as a string; an object of tensors; anything else
//              as a Uint8Array.
// Errors       An Error with `code` ("not_found", "throttled", …) and the message.
import { AsyncLocalStorage } from "node:async_hooks";
import { HEADER_LENGTH, bodyOf, isTensors, tensor, tensorsOf } from "./tensors.mjs";

// Gives what runs a piece of work as a part of a call: within(id, work).
export function offer(api) {
  const current = new AsyncLocalStorage();
  globalThis.dormouse = Object.freeze({
    async invoke(name, payload = null, { contentType } = {}) {
      const [headers, body] = contentOf(payload, contentType);
      return resultOf(await api.callFunction(current.getStore(), String(name), headers, body));
    },
    tensor,
  });
  return (id, work) => current.run(id, work);
}

function contentOf(payload, type) {
  if (ArrayBuffer.isView(payload)) {
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    return [{ "Content-Type": type ?? "application/octet-stream" }, bytes];
  }
  if (isTensors(payload)) {
    const [length, body] = bodyOf(payload);
    return [{ "Content-Type": "application/octet-stream", [HEADER_LENGTH]: length }, body];
  }
  const text = JSON.stringify(payload);
  if (text === undefined) throw new TypeError(`a ${typeof payload} cannot be sent as JSON`);
  return [{ "Content-Type": type ?? "application/json" }, Buffer.from(text)];
}

function resultOf({ status, headers, body }) {
  const type = (headers["content-type"] ?? "").split(";")[0].trim().toLowerCase();
  if (status !== 200) throw failure(status, body.toString());
  const length = headers[HEADER_LENGTH];
  if (length !== undefined) return tensorsOf(body, Number(length));
  if (type === "application/json" || type.endsWith("+json")) {
    return body.length === 0 ? null : JSON.parse(body.toString());
  }
  return type.startsWith("text/") ? body.toString() : new Uint8Array(body);
}

function failure(status, text) {
  try {
    const { code, message } = JSON.parse(text).error;
    return Object.assign(new Error(`${code}: ${message}`), { name: "DormouseError", code });
  } catch {
    // HTTP itself was refused: a name that is not one.
    const code = status < 500 ? "invalid_argument" : "unavailable";
    return Object.assign(new Error(`${code}: ${text.trim()}`), { name: "DormouseError", code });
  }
}
