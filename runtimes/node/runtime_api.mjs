// A client of the Lambda Runtime API.
import http from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import { Connections } from "./connections.mjs";
import { errorDocument } from "./handler.mjs";

const ROOT = "/2018-06-01/runtime";
const FUNCTIONS = "/dormouse/v1/functions";

export class RuntimeApi {
  #connections;

  constructor(address) {
    this.#connections = new Connections(address);
  }

  // Waits for a call, for as long as it takes.
  async next() {
    const { headers, body } = await this.#ask("GET", "invocation/next");
    return { id: headers["lambda-runtime-aws-request-id"], headers, body };
  }

  // `answer` as call() of handler.mjs gives it. Throws what a stream throws before its first piece.
  async answer(id, { type, body, stream }) {
    if (stream) return this.#stream(id, type, stream);
    await this.#ask("POST", `invocation/${id}/response`, body, { "Content-Type": type });
  }

  fail(id, document) {
    return this.#ask("POST", `invocation/${id}/error`, JSON.stringify(document));
  }

  // The caller is to blame, and told so.
  refuse(id, errorMessage) {
    return this.#ask("POST", `invocation/${id}/error`, JSON.stringify({ errorMessage }), { "Dormouse-Blame": "caller" });
  }

  failToBegin(document) {
    return this.#ask("POST", "init/error", JSON.stringify(document));
  }

  // Another function, from within the call `id`: {status, headers, body}.
  callFunction(id, name, given, body) {
    const headers = id === undefined ? given : { ...given, "Dormouse-Invocation": id };
    return this.#connections.exchange("POST", `${FUNCTIONS}/${encodeURIComponent(name)}`, headers, body);
  }

  #ask(method, name, body, headers = {}) {
    return this.#connections.exchange(method, `${ROOT}/${name}`, headers, body);
  }

  // A failure in the middle is told by trailers; what comes of it is the daemon's to say.
  async #stream(id, type, stream) {
    const headers = {
      "Content-Type": type,
      "Lambda-Runtime-Function-Response-Mode": "streaming",
      "Transfer-Encoding": "chunked",
      Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
    };
    const path = `${ROOT}/invocation/${id}/response`;
    const request = http.request({ createConnection: () => this.#connections.lend(), method: "POST", path, headers });
    const answered = answerTo(request);
    answered.catch(() => {}); // Waited for below.
    try {
      await pipeline(Readable.from(stream), request, { end: false });
    } catch (error) {
      if (request.destroyed) throw error;
      console.error(error);
      const document = trailedDocument(error);
      request.addTrailers({
        "Lambda-Runtime-Function-Error-Type": document.errorType,
        "Lambda-Runtime-Function-Error-Body": Buffer.from(JSON.stringify(document)).toString("base64"),
      });
    }
    request.end();
    await answered;
  }
}

// Trailers have room for 8 KiB.
function trailedDocument(error) {
  const document = errorDocument(error);
  if (Buffer.byteLength(JSON.stringify(document)) <= 5000) return document;
  const { errorType, errorMessage } = document;
  return { errorType: errorType.slice(0, 200), errorMessage: errorMessage.slice(0, 800) };
}

// Once all of the answer is there; nothing in it is of interest.
function answerTo(request) {
  return new Promise((resolve, reject) => {
    request.once("error", reject);
    request.once("response", (response) => {
      response.once("error", reject);
      response.once("end", resolve);
      response.resume();
    });
  });
}
