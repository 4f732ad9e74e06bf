// The worker of the runtime `node`: boots, waits in a blank sandbox until it is told whose it is, and
// then serves that function's handler by the Lambda Runtime API of the adapter beside it
// (docs/formats/runtime-api.md). Nothing but Node's own modules: it runs on the host's Node.
import fs from "node:fs";

import { offer } from "./client.mjs";
import { Context, call, errorDocument, eventOf, find } from "./handler.mjs";
import { RuntimeApi } from "./runtime_api.mjs";

const CODE = "/code";

// Blocks: until it knows whose it is there is nothing else to do. (Whoever imports node:process makes
// process.stdin, and thereby descriptor 0 one that does not block.)
function awaitFunction() {
  fs.writeSync(0, `${process.versions.node}\n`);
  const parts = [];
  const buffer = Buffer.alloc(65536);
  for (;;) {
    const size = fs.readSync(0, buffer);
    if (size === 0) process.exit(0); // The platform is gone.
    parts.push(Buffer.from(buffer.subarray(0, size)));
    if (buffer[size - 1] === 10) return JSON.parse(Buffer.concat(parts).toString());
  }
}

const { environment, concurrency } = awaitFunction();
Object.assign(process.env, environment);
process.chdir(CODE);
const api = new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API);
const within = offer(api);

// What nobody catches ends the process, as in Lambda: its state can no longer be relied on. Those whose
// calls it was working at are told what it printed last. Telling them here first would have the next
// call come while this ends.
function giveUp(error) {
  const { errorType, errorMessage } = errorDocument(error);
  console.error(error);
  console.error(`uncaught ${errorType}: ${errorMessage}`);
  process.exit(1);
}
process.on("uncaughtException", giveUp);
process.on("unhandledRejection", giveUp);

async function load() {
  try {
    return await find(CODE, process.env._HANDLER);
  } catch (error) {
    if (!error?.isOurs) console.error(error);
    await api.failToBegin(errorDocument(error));
    process.exit(1);
  }
}

async function serveOne(handler) {
  const { id, headers, body } = await api.next();
  try {
    const event = eventOf(body, headers["content-type"] ?? "");
    await within(id, async () => api.answer(id, await call(handler, event, new Context(headers), concurrency === "1")));
  } catch (error) {
    if (error?.isOurs) return api.refuse(id, error.message);
    console.error(error);
    await api.fail(id, errorDocument(error));
  }
}

async function serve(handler) {
  for (;;) await serveOne(handler);
}

const handler = await load();
for (let i = 0; i < Number(concurrency); ++i) serve(handler);
