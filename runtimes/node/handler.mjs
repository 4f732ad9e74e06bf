// Finds a user's handler, gives it events as AWS Lambda does, and makes an answer of what it returns.
//
// The event   The JSON value of the body; null if it is empty. A body that is not JSON comes as an
//             event of a function URL: {body, isBase64Encoded, headers: {"content-type"}}.
// The answer  What is returned, or said by the callback or the context's three methods, as JSON; a
//             Buffer or Uint8Array as it is. Promises are awaited. What an async generator yields, or
//             a handler made by awslambda.streamifyResponse() writes, is streamed.
import fs from "node:fs";
import path from "node:path";
import { PassThrough } from "node:stream";
import { pathToFileURL } from "node:url";

const STREAMS = Symbol("dormouse.streams");

globalThis.awslambda = {
  streamifyResponse(handler) {
    handler[STREAMS] = true;
    return handler;
  },
  HttpResponseStream: {
    from(stream, metadata) {
      stream.setContentType("application/vnd.awslambda.http-integration-response");
      stream.setPrelude(`${JSON.stringify(metadata ?? {})}${"\0".repeat(8)}`);
      return stream;
    },
  },
};

// A mistake whose message says it all: its stack would be this file's.
function mistake(message) {
  return Object.assign(new Error(message), { name: "HandlerError", isOurs: true });
}

// The same error with the file and line that are no JavaScript. Those of an ES module Node says only
// where the error ends it. Nothing of the code runs there either, unless it imports that module itself
// as it runs: then what it had done by then is done once more, in this sandbox.
async function placed(error, file, folder) {
  const { spawnSync } = await import("node:child_process");
  const placeIn = (text) => /^(?:file:\/\/)?(\/.+:\d+)\n/.exec(text)?.[1];
  const isOfModule = /^.*\n    at .*(?:compileSourceTextModule|ModuleWrap|ModuleLoader)/.test(error.stack);
  const again = () => spawnSync(process.execPath, [file], { encoding: "utf8", timeout: 5000 }).stderr;
  const place = placeIn(error.stack) ?? (isOfModule ? placeIn(again()) : undefined);
  if (place) error.message = `${path.relative(folder, place)}: ${error.message}`;
  return error;
}

// AWS's runtimes bring the SDK.
function advised(error) {
  const [, missing] = /^Cannot find (?:package|module) '((?:@aws-sdk|@smithy)\/[^/']+|aws-sdk)/.exec(error?.message) ?? [];
  if (!missing) return error;
  const advice = `AWS's runtimes bring ${missing}, this one does not: npm install ${missing} beside the code`;
  return Object.assign(error, { message: `${error.message.split("\n")[0]}; ${advice}` });
}

// "folder/app.handler", "app.nested.handler": a file up to the first dot of its name, then a path
// within what it exports.
export async function find(folder, name) {
  const [, module, exported] = /^((?:.*\/)?[^./]+)\.(.+)$/.exec(name) ?? [];
  if (!module) throw mistake(`handler: "${name}" is not module.function, as app.handler`);
  const file = [".mjs", ".js", ".cjs"]
    .map((suffix) => path.join(folder, module + suffix))
    .find((candidate) => fs.existsSync(candidate));
  if (!file) {
    const files = fs.readdirSync(folder).filter((each) => !each.startsWith("."));
    const there = files.sort().slice(0, 20).join(", ") || "nothing";
    throw mistake(`handler: there is no ${module}.mjs, .js or .cjs; the code has: ${there}`);
  }
  const exports = await import(pathToFileURL(file)).catch(async (error) => {
    throw error instanceof SyntaxError ? await placed(error, file, folder) : advised(error);
  });
  const within = (whole) => exported.split(".").reduce((part, key) => part?.[key], whole);
  const found = within(exports) ?? within(exports.default);
  if (typeof found === "function") return found;
  const all = { ...exports.default, ...exports };
  const callable = Object.keys(all).filter((key) => typeof all[key] === "function");
  const has = callable.sort().slice(0, 20).join(", ") || "nothing to call";
  throw mistake(`handler: ${path.basename(file)} exports no function "${exported}"; it has: ${has}`);
}

// What a handler is told of its invocation: the fields of AWS Lambda's context.
export class Context {
  constructor(headers) {
    this.awsRequestId = headers["lambda-runtime-aws-request-id"];
    this.invokedFunctionArn = headers["lambda-runtime-invoked-function-arn"];
    const said = headers["lambda-runtime-client-context"];
    this.clientContext = said === undefined ? undefined : JSON.parse(said);
    this.functionName = process.env.AWS_LAMBDA_FUNCTION_NAME;
    this.functionVersion = process.env.AWS_LAMBDA_FUNCTION_VERSION;
    this.memoryLimitInMB = process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE;
    this.logGroupName = process.env.AWS_LAMBDA_LOG_GROUP_NAME;
    this.logStreamName = process.env.AWS_LAMBDA_LOG_STREAM_NAME;
    this.callbackWaitsForEmptyEventLoop = false; // The answer leaves at once.
    const deadline = Number(headers["lambda-runtime-deadline-ms"]);
    this.getRemainingTimeInMillis = () => Math.max(0, deadline - Date.now());
  }
}

export function eventOf(body, contentType) {
  const kind = contentType.split(";")[0].trim().toLowerCase();
  const isForm = kind === "application/x-www-form-urlencoded";
  if (body.length === 0) return null;
  if (kind === "" || kind === "application/json" || kind.endsWith("+json") || isForm) {
    try {
      return JSON.parse(body.toString());
    } catch (wrong) {
      // curl's --data says it is a form unless told otherwise; a form is not JSON.
      if (!isForm) throw mistake(`the body is not JSON: ${wrong.message}`);
    }
  }
  const isText = kind.startsWith("text/") && Buffer.from(body.toString()).equals(body);
  return {
    version: "2.0",
    headers: { "content-type": contentType },
    body: body.toString(isText ? "utf8" : "base64"),
    isBase64Encoded: !isText,
  };
}

// Gives {type, body} with the whole answer, or {type, stream}. `type` may be a promise, which is kept
// when the first piece of the stream is there. `isAlone`: no other call runs beside it.
export async function call(handler, event, context, isAlone) {
  if (handler[STREAMS]) return streamed(handler, event, context);
  const value = await answered(handler, event, context, isAlone);
  if (typeof value?.[Symbol.asyncIterator] === "function") {
    return { type: "application/octet-stream", stream: await begun(pieces(value)) };
  }
  if (value instanceof Uint8Array) return { type: "application/octet-stream", body: value };
  return { type: "application/json", body: JSON.stringify(value) ?? "null" };
}

// How to end what waits for what the handler has yet to do: when nothing goes on in here, it never will.
const open = new Set();
process.on("beforeExit", () => open.forEach((end) => end()));

function neverSettled() {
  return Object.assign(new Error("its promise was never settled: nothing was left that could settle it"), { name: "HandlerError" });
}

// The promise, or its failure once nothing is left that could settle it.
function settling(promise) {
  return new Promise((resolve, reject) => {
    const end = () => reject(neverSettled());
    open.add(end);
    promise.then(resolve, reject).finally(() => open.delete(end));
  });
}

// By whichever comes first. What returns nothing may call back as long as anything goes on in here, as
// on Lambda; beside other calls that is not to be seen, and only who takes the callback is waited for.
function answered(handler, event, context, isAlone) {
  let end;
  const answer = new Promise((resolve, reject) => {
    const callback = (error, value) => (error == null ? resolve(value) : reject(error));
    Object.assign(context, { succeed: resolve, fail: reject, done: callback });
    const value = handler(event, context, callback);
    if (typeof value?.then === "function") {
      open.add((end = () => reject(neverSettled())));
      value.then(resolve, reject);
    } else if (handler.length < 3 && (value !== undefined || !isAlone)) resolve(value);
    else if (isAlone) open.add((end = resolve));
  });
  return end ? answer.finally(() => open.delete(end)) : answer;
}

function streamed(handler, event, context) {
  const stream = new PassThrough();
  const answer = { type: "application/octet-stream" };
  stream.setContentType = (type) => (answer.type = type);
  stream.setPrelude = (prelude) => (stream.prelude = prelude);
  const handled = settling(Promise.resolve(handler(event, stream, context)));
  handled.then(() => stream.writableEnded || stream.end(), (error) => stream.destroy(error));
  answer.stream = whole(stream, handled);
  return new Promise((resolve, reject) => {
    // Its type may be set until it writes; what fails before that fails as a whole.
    stream.once("readable", () => resolve(answer));
    stream.once("end", () => resolve(answer));
    stream.once("error", reject);
  });
}

// What the handler does after its stream's end is of its call, too, and so is what it throws there.
async function* whole(stream, handled) {
  if (stream.prelude !== undefined) yield stream.prelude;
  yield* stream;
  await handled;
}

// What fails before its first piece fails as a whole.
async function begun(values) {
  const first = await settling(values.next());
  return (async function* () {
    if (first.done) return;
    yield first.value;
    yield* values;
  })();
}

async function* pieces(values) {
  for await (const value of values) {
    yield typeof value === "string" || value instanceof Uint8Array ? value : `${JSON.stringify(value)}\n`;
  }
}

// As Lambda has it.
export function errorDocument(error) {
  const isError = error instanceof Error;
  return {
    errorType: isError ? error.name : typeof error,
    errorMessage: isError ? error.message : String(error),
    trace: isError ? (error.stack ?? "").split("\n") : [],
  };
}
