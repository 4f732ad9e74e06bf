// Any program as a function: the shell script that `dormouse init executable` writes, and one that
// goes to the edges of the Lambda Runtime API.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, compileNative, eventually, program, repository } from "./platform.mjs";

const json = { "content-type": "application/json" };

// Does what the event says, over plain HTTP as the API's page describes it.
const versatile = `#!${process.execPath}
const http = require("node:http");
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true });
const base = "/2018-06-01/runtime/";

function ask(method, path, { body, headers = {}, pieces, trailers } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, method, path: base + path, headers, agent }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }));
    });
    request.on("error", reject);
    if (!pieces) return request.end(body);
    (async () => {
      for await (const piece of pieces) {
        if (!request.write(piece)) await new Promise((done) => request.once("drain", done));
      }
      if (trailers) request.addTrailers(trailers);
      request.end();
    })();
  });
}

// The status that comes first; 0 if there is none within a moment, and then hangs up.
function raw(text) {
  return new Promise((resolve) => {
    let answer = "";
    const socket = require("node:net").connect(port, host, () => socket.write(text));
    const done = () => {
      socket.destroy();
      resolve(Number(answer.split(" ")[1] ?? 0));
    };
    socket.setTimeout(100, done);
    socket.on("data", (part) => (answer += part, answer.includes("\\r\\n\\r\\n") && done()));
    socket.on("end", done);
    socket.on("error", done);
  });
}

const streaming = {
  "Lambda-Runtime-Function-Response-Mode": "streaming",
  "Transfer-Encoding": "chunked",
  "Content-Type": "text/plain",
};

async function obey(id, event, headers) {
  const respond = (body, more = {}) =>
    ask("POST", "invocation/" + id + "/response",
      { body, headers: { "Content-Type": "application/json", ...more } });
  switch (event.do) {
    case "exit": process.exit(event.status);
    case "kill": process.kill(process.pid, "SIGKILL"); break;
    case "fail":
      return ask("POST", "invocation/" + id + "/error", {
        headers: { "Lambda-Runtime-Function-Error-Type": "Header.Type", ...event.headers }, body: event.document });
    case "wrong id": {
      const wrong = await ask("POST", "invocation/" + event.id + "/response", { body: "{}" });
      return respond(JSON.stringify({ status: wrong.status, said: JSON.parse(wrong.body) }));
    }
    case "odd mode": {
      const refused = await ask("POST", "invocation/" + id + "/response", {
        headers: { "Lambda-Runtime-Function-Response-Mode": "odd" }, body: "{}" });
      return respond(JSON.stringify({ status: refused.status, said: JSON.parse(refused.body) }));
    }
    case "linger": // Its answer has begun, and ends later.
      return ask("POST", "invocation/" + id + "/response", {
        headers: streaming, pieces: (async function* () {
          yield "begun";
          await new Promise((done) => setTimeout(done, event.ms));
          yield " and ended";
        })() });
    case "mutate": { // Requests that are nearly right, 200 at a time; never for this call.
      let state = event.seed;
      const random = (n) => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % n;
      const mutated = () => {
        const bytes = Buffer.from(event.texts[random(event.texts.length)]);
        for (let changes = 1 + random(4); changes > 0; --changes) {
          const at = random(bytes.length);
          if (random(3) === 0) bytes.copyWithin(at, random(bytes.length));
          else bytes[at] = random(2) ? random(256) : "\\r\\n :/0fF;,".charCodeAt(random(11));
        }
        return bytes.subarray(0, random(5) ? bytes.length : random(bytes.length));
      };
      const statuses = {};
      for (let left = event.count; left > 0; left -= 200) {
        for (const status of await Promise.all(Array.from({ length: 200 }, () => raw(mutated())))) {
          statuses[status] = (statuses[status] ?? 0) + 1;
        }
      }
      return respond(JSON.stringify(statuses));
    }
    case "twice": {
      await respond(JSON.stringify("first"));
      globalThis.second = await respond(JSON.stringify("second"));
      return;
    }
    case "second":
      return respond(JSON.stringify({ status: second.status, said: JSON.parse(second.body) }));
    case "size": return respond(JSON.stringify(event.padding.length));
    case "large": {
      const answer = await respond(Buffer.alloc(event.bytes, "x"), { "Content-Type": "text/plain" });
      globalThis.last = answer.status;
      return;
    }
    case "last": return respond(JSON.stringify(last));
    case "chunked":
      return ask("POST", "invocation/" + id + "/response", {
        headers: { "Transfer-Encoding": "chunked" }, pieces: ["[1,", "2,", "3]"] });
    case "stream":
      return ask("POST", "invocation/" + id + "/response", {
        headers: { ...streaming, ...(event.error ? { Trailer: "Lambda-Runtime-Function-Error-Type" } : {}) },
        pieces: Array(event.pieces).fill("p".repeat(event.bytes)),
        trailers: event.error && {
          "Lambda-Runtime-Function-Error-Type": "Broke.Off",
          "Lambda-Runtime-Function-Error-Body": Buffer.from(JSON.stringify(
            { errorType: "Broke.Off", errorMessage: event.error })).toString("base64"),
        } });
    case "ahead": { // Asks for the next call before it answers this one.
      const next = ask("GET", "invocation/next");
      await respond(JSON.stringify("answered"));
      return take(await next);
    }
    case "environment": return respond(JSON.stringify({ env: process.env, headers, cwd: process.cwd() }));
    case "nonsense": {
      const answers = [];
      for (const text of event.texts) answers.push(await raw(text.replaceAll("ID", id)));
      return respond(JSON.stringify(answers));
    }
    case "early": return respond(JSON.stringify(early));
    default: return respond(JSON.stringify({ got: event }));
  }
}

async function take({ headers, body }) {
  const text = body.toString();
  let event = text;
  try { event = JSON.parse(text); } catch {}
  await obey(headers["lambda-runtime-aws-request-id"], event ?? {}, headers);
}

(async () => {
  if (process.env.FAIL) {
    await ask("POST", "init/error", { body: JSON.stringify(
      { errorType: "Config.Missing", errorMessage: process.env.FAIL }) });
    process.exit(1);
  }
  globalThis.early = await ask("POST", "invocation/0-0/response", { body: "{}" }).then((r) => r.status);
  for (;;) await take(await ask("GET", "invocation/next"));
})();
`;

let platform;
before(async () => {
  platform = await Platform.start();
  const done = await platform.deploy(
    { name: "versatile", runtime: "executable", timeout: "20s" },
    { bootstrap: versatile },
  );
  assert.equal(done.code, 0, done.stderr);
});
after(() => platform.stop());

const call = (event, name = "versatile") => platform.invoke(name, JSON.stringify(event), json);
async function answerTo(event) {
  const { status, text } = await call(event);
  assert.equal(status, 200, text);
  return JSON.parse(text);
}

test("what init writes answers cold and warm, and prints into its log", async () => {
  const folder = path.join(platform.dir, "hello");
  assert.equal((await platform.cli("init", "executable", folder)).code, 0);
  const done = await platform.cli("deploy", folder);
  assert.equal(done.code, 0, done.stderr);
  const cold = await platform.invoke("hello", '{"name": "you"}', json);
  assert.equal(cold.status, 200, cold.text);
  assert.deepEqual(JSON.parse(cold.text).you_sent, { name: "you" });
  assert.match(cold.headers["server-timing"], /wake-load;dur=/);
  assert.match(cold.headers["content-type"], /^application\/json/);
  const warm = await platform.invoke("hello", "[1]", json);
  assert.equal(JSON.parse(warm.text).request, warm.headers["dormouse-invocation"]);
  assert.doesNotMatch(warm.headers["server-timing"], /wake/);
  await eventually("its log", async () => {
    const { stdout } = await platform.cli("logs", "hello", "-n", "20");
    return stdout.includes(`answering ${warm.headers["dormouse-invocation"]}`);
  });
});

test("the example is what init writes", () => {
  const folder = path.join(platform.dir, "shell-bootstrap");
  execFileSync(program, ["init", "executable", folder]);
  for (const file of ["dormouse.yaml", "bootstrap"]) {
    const example = path.join(repository, "examples/shell-bootstrap", file);
    assert.equal(readFileSync(example, "utf8"), readFileSync(path.join(folder, file), "utf8"), file);
  }
});

test("a program has Lambda's environment, and its calls Lambda's headers", async () => {
  const before = Date.now();
  const { env, headers, cwd } = await answerTo({ do: "environment" });
  assert.equal(cwd, "/code");
  assert.equal(env.AWS_LAMBDA_FUNCTION_NAME, "versatile");
  assert.equal(env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE, "512");
  assert.equal(env.LAMBDA_TASK_ROOT, "/code");
  assert.equal(env.DORMOUSE_TEMPLATE, "0");
  assert.match(headers["lambda-runtime-invoked-function-arn"], /:function:versatile$/);
  assert.match(headers["lambda-runtime-trace-id"], /^Root=1-[0-9a-f]{8}-[0-9a-f]{24};/);
  const left = Number(headers["lambda-runtime-deadline-ms"]) - before;
  assert.ok(left > 0 && left <= 25_000, `${left} ms`);
});

test("an event is the body as it came", async () => {
  assert.deepEqual(await answerTo({ any: ["thing"] }), { got: { any: ["thing"] } });
  const plain = await platform.invoke("versatile", "no JSON", { "content-type": "text/plain" });
  assert.deepEqual(JSON.parse(plain.text), { got: "no JSON" });
  assert.deepEqual(await answerTo({ do: "chunked" }), [1, 2, 3]);
});

test("an error of the function is told by its type and message", async () => {
  const document = JSON.stringify({ errorType: "ValueError", errorMessage: "not a name", stackTrace: [] });
  for (const [said, expected] of [
    [document, "ValueError: not a name"],
    ['{"errorMessage": "half"}', "Header.Type: half"],
    ["just text", "Header.Type: just text"],
  ]) {
    const { status, text } = await call({ do: "fail", document: said });
    assert.equal(status, 502, text);
    const { error } = JSON.parse(text);
    assert.equal(error.blame, "function");
    assert.ok(error.message.includes(expected), error.message);
  }
  const blaming = async (whom) => {
    const { status, text } = await call({ do: "fail", document, headers: { "Dormouse-Blame": whom } });
    return [status, JSON.parse(text).error.blame];
  };
  assert.deepEqual(await blaming("caller"), [400, "caller"]);
  assert.deepEqual(await blaming("platform"), [502, "function"]); // Not for a function to say.
  assert.deepEqual(await answerTo({ still: 1 }), { got: { still: 1 } });
});

test("a deploy fails with the program's own words, or with how it ended", async () => {
  const refused = await platform.deploy(
    { name: "no-config", runtime: "executable", env: { FAIL: "there is no TABLE" } },
    { bootstrap: versatile },
  );
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /Config\.Missing: there is no TABLE/);
  for (const [bootstrap, said] of [
    ["#!/bin/sh\necho cannot find it\nexit 3\n", /exited with status 3.*cannot find it/],
    ["#!/bin/sh\nkill -9 $$\n", /signal 9/],
    ["#!/opt/none\n", /bootstrap cannot be executed: what its first line names/],
    ["no program\n", /bootstrap cannot be executed: it is neither/],
    [undefined, /no program called bootstrap; the code has: dormouse\.yaml, other|no program called bootstrap; the code has: other/],
  ]) {
    const files = bootstrap === undefined ? { other: "x" } : { bootstrap };
    const { code, stderr } = await platform.deploy({ name: "broken", runtime: "executable" }, files);
    assert.notEqual(code, 0);
    assert.match(stderr, said);
  }
});

// As it is for a moment in a process that the daemon has just forked, while what was uploaded is written.
test("a program that is still open for writing somewhere is waited for", async () => {
  const script = `#!/bin/sh
H="$(mktemp)"
while :; do
  curl -sS -D "$H" -o /dev/null "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next"
  ID="$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: *\\([^\r]*\\).*/\\1/p' "$H")"
  curl -sS -d '"here"' "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/$ID/response"
done
`;
  const done = await platform.deploy({ name: "written", runtime: "executable", keep_alive: "0s" }, { bootstrap: script });
  assert.equal(done.code, 0, done.stderr);
  await eventually("it sleeps", () => platform.isIdle("written"));
  const found = execFileSync("find", [platform.data, "-name", "bootstrap", "-size", `${script.length}c`], { encoding: "utf8" });
  const file = openSync(found.split("\n")[0], "r+");
  setTimeout(() => closeSync(file), 300);
  assert.equal(await platform.callJson("written"), "here");
});

test("answers to no call are refused: 400 for one unknown, 403 for a second one", async () => {
  assert.equal(await answerTo({ do: "early" }), 400);
  // S17: nor is one that runs in another instance answered from this one.
  const elsewhere = await fetch(`${platform.url}/f/versatile`, {
    method: "POST", headers: json, body: JSON.stringify({ do: "linger", ms: 1500 }) });
  const stolen = await answerTo({ do: "wrong id", id: elsewhere.headers.get("dormouse-invocation") });
  assert.equal(stolen.said.errorType, "InvalidRequestID");
  assert.equal(await elsewhere.text(), "begun and ended");
  const wrong = await answerTo({ do: "wrong id", id: "0-0" });
  assert.equal(wrong.status, 400);
  assert.equal(wrong.said.errorType, "InvalidRequestID");
  const odd = await answerTo({ do: "odd mode" });
  assert.equal(odd.status, 400);
  assert.equal(odd.said.errorType, "InvalidFunctionResponseMode");
  assert.equal(await answerTo({ do: "twice" }), "first");
  const second = await answerTo({ do: "second" });
  assert.equal(second.status, 403);
  assert.equal(second.said.errorType, "InvalidStateTransition");
  assert.equal(await answerTo({ do: "ahead" }), "answered");
  assert.deepEqual(await answerTo({ after: 1 }), { got: { after: 1 } });
});

test("large bodies go both ways, and one beyond the limit is refused", async () => {
  assert.equal(await answerTo({ do: "size", padding: "x".repeat(1 << 20) }), 1 << 20);
  for (const bytes of [48 << 10, (48 << 10) + 1, 1 << 20, 5_000_000]) {
    const { status, body } = await call({ do: "large", bytes });
    assert.equal(status, 200);
    assert.equal(body.length, bytes);
    assert.ok(body.equals(Buffer.alloc(bytes, "x")));
  }
  const { status, text } = await call({ do: "large", bytes: 80 << 20 });
  assert.notEqual(status, 200);
  assert.match(JSON.parse(text).error.message, /the answer has \d+ bytes, the limit is \d+/);
  assert.equal(await answerTo({ do: "last" }), 413);
});

test("a program that ends in a call fails that call, and no other", async () => {
  for (const [event, said] of [
    [{ do: "exit", status: 7 }, /status 7/],
    [{ do: "kill" }, /SIGKILL/],
  ]) {
    const { status, text } = await call(event);
    assert.equal(status, 502, text);
    assert.match(JSON.parse(text).error.message, said);
    assert.deepEqual(await answerTo({ next: 1 }), { got: { next: 1 } });
  }
});

test("an answer may be streamed, and may fail in the middle", async () => {
  const { status, headers, body } = await call({ do: "stream", pieces: 200, bytes: 10_000 });
  assert.equal(status, 200);
  assert.match(headers["content-type"], /^text\/plain/);
  assert.equal(body.length, 2_000_000);
  const broken = await call({ do: "stream", pieces: 3, bytes: 10, error: "lost it" }).catch((e) => e);
  assert.equal(broken.code, "ECONNRESET");
  assert.deepEqual(await answerTo({ next: 2 }), { got: { next: 2 } });
});

test("the example in JavaScript is called as on Lambda", async () => {
  const done = await platform.cli("deploy", path.join(repository, "examples/node-bootstrap"));
  assert.equal(done.code, 0, done.stderr);
  const right = await platform.invoke("sum", '{"numbers": [1, 2, 3]}', json);
  assert.deepEqual(JSON.parse(right.text), { sum: 6, request: right.headers["dormouse-invocation"] });
  const wrong = await platform.invoke("sum", "{}", json);
  assert.equal(wrong.status, 502);
  assert.match(JSON.parse(wrong.text).error.message, /^TypeError: send numbers: a list/);
});

test("with concurrency, a program has several calls and answers them in its own order", async () => {
  const done = await platform.deploy(
    { name: "several", runtime: "executable", concurrency: 2, max_instances: 1 },
    { bootstrap: versatile },
  );
  assert.equal(done.code, 0, done.stderr);
  const first = call({ do: "ahead" }, "several"); // Answered after the next one came.
  const second = await call({ n: 2 }, "several");
  assert.deepEqual(JSON.parse(second.text), { got: { n: 2 } });
  assert.equal(JSON.parse((await first).text), "answered");
});

// By Lambda's API, which no page may ask: of a client that says this of itself.
const from = (said, body, name) =>
  platform.request("POST", `/2015-03-31/functions/${name}/invocations`, {
    body,
    headers: { "x-amz-client-context": Buffer.from(JSON.stringify(said)).toString("base64") },
  });

test("a program that speaks the wire itself is forked from a template", async (t) => {
  const folder = path.join(platform.dir, "native");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "dormouse.yaml"), "name: native\nruntime: executable\nmemory: 64MiB\n");
  writeFileSync(
    path.join(folder, "native.c"),
    `#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "dormouse.h"
int main(void) {
  if (dormouse_template() != 0) return 1;
  for (struct dormouse_call call; dormouse_next(&call) == 1;) {
    if (call.size == 4) exit(9);
    const char* said = call.client_context;
    if (said) dormouse_answer(&call, "text/plain", said, strlen(said));
    else dormouse_answer(&call, "text/plain", call.body, call.size);
  }
  return 0;
}
`,
  );
  if (!compileNative(folder)) return t.skip("there is no C compiler");
  const done = await platform.cli("deploy", folder);
  assert.equal(done.code, 0, done.stderr);
  const noteOf = async (name) => (await platform.json("show", name)).function.revision.notes.template;
  assert.equal(await noteOf("native"), "yes");
  for (const body of ["hello", "x".repeat(100_000)]) {
    const { status, text } = await platform.invoke("native", body);
    assert.equal(status, 200, text);
    assert.equal(text, body);
    assert.equal((await from({ n: 1 }, "{}", "native")).text, '{"n":1}');
  }
  assert.equal((await platform.invoke("native", "exit")).status, 502);
  assert.equal((await platform.invoke("native", "again")).text, "again");
  assert.match(await noteOf("versatile"), /^no: it speaks the Lambda Runtime API/);
});

test("one that has started a thread by then is not forked, says so, and serves", async (t) => {
  const folder = path.join(platform.dir, "threads");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "dormouse.yaml"), "name: threads\nruntime: executable\nmemory: 64MiB\n");
  writeFileSync(
    path.join(folder, "native.c"),
    `#include <pthread.h>
#include <unistd.h>
#include "dormouse.h"
static void* idle(void* unused) {
  for (;;) sleep(1);
  return unused;
}
int main(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, idle, NULL) != 0 || dormouse_template() != 0) return 1;
  for (struct dormouse_call call; dormouse_next(&call) == 1;) {
    dormouse_answer(&call, "text/plain", call.body, call.size);
  }
  return 0;
}
`,
  );
  if (!compileNative(folder)) return t.skip("there is no C compiler");
  const done = await platform.cli("deploy", folder);
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", "threads")).function.revision;
  assert.match(notes.template, /^no: its fork: it has threads, which a fork would not have: \S+ of bootstrap$/);
  assert.equal((await platform.invoke("threads", "hello")).text, "hello");
});

test("nonsense is refused, hanging up harms nobody, and what follows is served", async () => {
  const post = (what) => `POST /2018-06-01/runtime/${what} HTTP/1.1\r\nHost: a\r\n`;
  const get = (what) => `GET /2018-06-01/${what} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const cases = [
    ["\0\x01 nonsense", 400],
    ["GET / HTTP/1.1\nHost: a\n\n", 400],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(70_000)}`, 431],
    ["GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404],
    [get("ping"), 200],
    [get("ping") + get("ping"), 200],
    [get("runtime/invocation/ID/response"), 405],
    [get("runtime/invocation//response"), 400],
    [get("runtime/invocation/next"), 0], // Waits, and hangs up.
    [get("runtime/restore/next"), 404],
    [post("init/error") + "Content-Length: 2\r\n\r\n{}", 403],
    [post("invocation/ID/response") + "Content-Length: 10\r\n\r\nhalf", 0],
    [post("invocation/ID/response") + "Content-Length: 99999999999999\r\n\r\nhalf", 0],
    [post("invocation/ID/response") + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400],
    [post("invocation/ID/response") + "Transfer-Encoding: gzip\r\n\r\n", 400],
    [post("invocation/ID/error") + "Transfer-Encoding: chunked\r\n\r\nffffff", 0],
  ];
  const { status, text } = await call({ do: "nonsense", texts: cases.map(([sent]) => sent) });
  assert.equal(status, 200, text);
  assert.deepEqual(JSON.parse(text), cases.map(([, expected]) => expected));
  // A stream that breaks off fails its call, after its head has left.
  const torn = post("invocation/ID/response") + "Transfer-Encoding: chunked\r\n" +
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n5\r\nhello\r\n";
  const broken = await call({ do: "nonsense", texts: [torn] }).catch((failure) => failure);
  assert.equal(broken.code, "ECONNRESET");
  assert.deepEqual(await answerTo({ next: 3 }), { got: { next: 3 } });
});

// S17: each is refused or hung up on, and the adapter is none the larger for it.
test("requests that are nearly right are all met", async () => {
  const post = (what, rest) => `POST /2018-06-01/runtime/${what} HTTP/1.1\r\nHost: a\r\n${rest}`;
  const texts = [
    "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    post("invocation/01a21fe8-3082-7f2d-8cf9-7b732b711bc0/response", "Content-Length: 4\r\n\r\nfour"),
    post("invocation/01a21fe8-3082-7f2d-8cf9-7b732b711bc0/response",
      "Transfer-Encoding: chunked\r\nTrailer: Lambda-Runtime-Function-Error-Type\r\n\r\n4\r\nfour\r\n0\r\nLambda-Runtime-Function-Error-Type: A\r\n\r\n"),
    post("invocation/01a21fe8-3082-7f2d-8cf9-7b732b711bc0/error",
      'Lambda-Runtime-Function-Error-Type: A.B\r\nContent-Length: 22\r\n\r\n{"errorMessage":"why"}'),
    post("init/error", "Content-Length: 2\r\n\r\n{}"),
  ];
  const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
  const event = { do: "mutate", count: nightly ? 100_000 : 10_000, seed: Number(process.env.DORMOUSE_SEED ?? 1), texts };
  const deployed = await platform.deploy(
    { name: "mutates", runtime: "executable", timeout: "10m" }, { bootstrap: versatile });
  assert.equal(deployed.code, 0, deployed.stderr);
  const { status, text } = await call(event, "mutates");
  assert.equal(status, 200, text);
  const statuses = JSON.parse(text);
  assert.equal(Object.values(statuses).reduce((a, b) => a + b), event.count);
  for (const answered of Object.keys(statuses)) assert.match(answered, /^(0|4\d\d|501|505)$/, text);
  assert.ok(statuses[400] > event.count / 10, text);
  assert.deepEqual(JSON.parse((await call({ after: 2 }, "mutates")).text), { got: { after: 2 } });
});

const awsClient = path.join(process.env.DORMOUSE_DEPS ?? path.join(repository, ".deps"), "aws-runtime-client");
const skip = !existsSync(path.join(awsClient, ".complete")) && "it is not there: scripts/setup --test builds it";
test("AWS's own client of the Runtime API for Node runs unmodified", { skip }, async () => {
  const modules = path.join(awsClient, "node_modules");
  const files = {
    bootstrap: "#!/bin/sh\nexec node node_modules/aws-lambda-ric/index.mjs app.handler\n",
    "app.mjs": `export const handler = async (event, context) => {
  if (event.fail) throw new RangeError("asked to");
  if (event.told) return context.clientContext;
  console.log("seen", event.n);
  return { sum: event.n + 1, id: context.awsRequestId, left: context.getRemainingTimeInMillis() > 1000 };
};`,
  };
  for (const name of ["index.mjs", "package.json", "rapid-client.node"]) {
    files[`node_modules/aws-lambda-ric/${name}`] = readFileSync(path.join(modules, "aws-lambda-ric", name));
  }
  const store = path.join(modules, "@aws/lambda-invoke-store");
  for (const entry of readdirSync(store, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.path, entry.name);
    files[path.join("node_modules/@aws/lambda-invoke-store", path.relative(store, file))] = readFileSync(file);
  }
  const manifest = { name: "aws", runtime: "executable", handler: "app.handler", memory: "256MiB" };
  const done = await platform.deploy(manifest, files);
  assert.equal(done.code, 0, done.stderr);
  const right = await call({ n: 41 }, "aws");
  const id = right.headers["dormouse-invocation"];
  assert.deepEqual(JSON.parse(right.text), { sum: 42, id, left: true });
  const said = { custom: { "ü": "\u{1F634}" } };
  assert.deepEqual(JSON.parse((await from(said, '{"told": 1}', "aws")).text), said);
  const wrong = await call({ fail: true }, "aws");
  assert.equal(wrong.status, 502);
  assert.match(JSON.parse(wrong.text).error.message, /^RangeError: asked to/);
  assert.deepEqual(JSON.parse((await call({ n: 1 }, "aws")).text).sum, 2);
  await eventually("its log", async () =>
    new RegExp(`${id}\\s+INFO\\s+seen 41`).test((await platform.cli("logs", "aws")).stdout));
});

test("its loopback is its own", async () => {
  const script = `#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  id=$(curl -sS -D - -o /tmp/event "$api/next" | tr -d '\\r' |
    awk 'tolower($1) == "lambda-runtime-aws-request-id:" { print $2 }')
  curl -sS --max-time 2 "$(cat /tmp/event)" >/tmp/out 2>&1 && echo REACHED >>/tmp/out
  curl -sS -o /dev/null -H 'Content-Type: text/plain' --data-binary @/tmp/out "$api/$id/response"
done
`;
  const done = await platform.deploy({ name: "dialler", runtime: "executable" }, { bootstrap: script });
  assert.equal(done.code, 0, done.stderr);
  for (const address of [`127.0.0.1:${platform.port}`, "169.254.169.254", "10.0.0.1", "[::1]:80"]) {
    const { status, text } = await platform.invoke("dialler", `http://${address}/`);
    assert.equal(status, 200, text);
    assert.doesNotMatch(text, /REACHED/, address);
    assert.match(text, /Couldn't connect|unreachable|refused|Failed to connect/, address);
  }
});

test("nothing is left of it after kill -9 and a restart", async () => {
  assert.deepEqual(await answerTo({ a: 1 }), { got: { a: 1 } });
  await platform.kill("SIGKILL");
  await platform.serve();
  assert.deepEqual(await answerTo({ b: 1 }), { got: { b: 1 } });
});
