// AWS Lambda's API, through AWS's own client for JavaScript, unmodified: only its endpoint is ours.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { eventually, promptly } from "./platform.mjs";
import { aws, client, refusal, startSigned, utf8 } from "./aws.mjs";

let platform;
before(async () => (platform = await startSigned()));
after(() => platform.stop());

const invoke = (name, event, more = {}, by = client(platform)) =>
  by.send(new aws.InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event), ...more }));

// What the control API answers to who has the key.
async function control(target) {
  const headers = { authorization: `Bearer ${platform.options.env.DORMOUSE_KEY}` };
  return JSON.parse((await platform.request("GET", target, { headers })).text);
}

async function deploy(name, code, more = {}) {
  const manifest = { name, runtime: "python", handler: "app.handler", memory: "128MiB", ...more };
  const done = await platform.deploy(manifest, { "app.py": code });
  assert.equal(done.code, 0, done.stderr);
}

const GREET = `
import json, time
def handler(event, context):
    if event.get("sleep"): time.sleep(event["sleep"])
    if event.get("raise"): raise ValueError("no: " + event["raise"])
    for i in range(event.get("lines", 0)): print("line", i)
    if "told" in event:
        said = context.client_context
        return said and [said.custom, said.env, said.client and [said.client.app_title, said.client.installation_id]]
    return {"hello": event.get("name", "nobody"), "arn": context.invoked_function_arn}
`;

test("Invoke answers, under every name that a function has", async () => {
  await deploy("greet", GREET, { timeout: "2s" });
  const arn = "arn:aws:lambda:eu-west-1:123456789012:function:greet";
  for (const name of ["greet", "greet:$LATEST", "greet:1", "123456789012:function:greet", arn, `${arn}:1`]) {
    const answer = await invoke(name, { name: "you" });
    assert.equal(answer.StatusCode, 200);
    assert.equal(answer.ExecutedVersion, "1");
    assert.equal(answer.FunctionError, undefined);
    assert.match(answer.$metadata.requestId, /^[0-9a-f-]{36}$/);
    assert.equal(JSON.parse(utf8(answer.Payload)).hello, "you");
  }
  assert.equal((await invoke("greet", {}, { Qualifier: "$LATEST" })).StatusCode, 200);
  const nothing = await client(platform).send(new aws.InvokeCommand({ FunctionName: "greet" }));
  assert.equal(JSON.parse(utf8(nothing.Payload)).hello, "nobody");
});

test("an error of the function is 200, with its type and message", async () => {
  const failed = await invoke("greet", { raise: "such line" }, { LogType: "Tail" });
  assert.equal(failed.StatusCode, 200);
  assert.equal(failed.FunctionError, "Unhandled");
  const { errorType, errorMessage } = JSON.parse(utf8(failed.Payload));
  assert.deepEqual([errorType, errorMessage], ["ValueError", "no: such line"]);
  assert.match(Buffer.from(failed.LogResult, "base64").toString(), /Traceback/);
  const late = await invoke("greet", { sleep: 10 });
  assert.equal(late.FunctionError, "Unhandled");
  assert.match(JSON.parse(utf8(late.Payload)).errorMessage, /Task timed out after 2\.00 seconds$/);
});

const failing = async (name, event) => {
  const failed = await invoke(name, event);
  assert.equal(failed.FunctionError, "Unhandled");
  return JSON.parse(utf8(failed.Payload));
};

test("errorType is the function's own, with a message or without", async () => {
  const python = `
import struct, zlib
class NotFound(Exception): pass
def handler(event, context):
    if event == "bare": raise NotFound()
    if event == "same": raise NotFound("NotFound")
    if event == "assert": assert False
    if event == "zlib": zlib.decompress(b"x")
    if event == "struct": struct.unpack("<I", b"")
    if event == "long": raise NotFound("x" * 30000)
    if event == "large": return "x" * (65 << 20)
    raise NotImplementedError
`;
  await deploy("raises", python, { memory: "512MiB" });
  const rows = [["bare", "NotFound", ""], ["same", "NotFound", "NotFound"], ["assert", "AssertionError", ""],
    ["", "NotImplementedError", ""], ["struct", "error", /unpack requires/], ["zlib", "error", /Error -5/],
    ["long", "NotFound", /^x{30000}$/], ["large", "Function.ResponseSizeTooLarge", /limit/]];
  for (const [event, type, message] of rows) {
    const { errorType, errorMessage } = await failing("raises", event);
    assert.equal(errorType, type, event);
    message instanceof RegExp ? assert.match(errorMessage, message) : assert.equal(errorMessage, message);
  }
  const { stackTrace, requestId } = await failing("raises", "bare");
  assert.match(stackTrace[0], /File ".*app\.py", line 5, in handler\n +if event == "bare": raise NotFound\(\)\n/);
  assert.match(requestId, /^[0-9a-f-]{36}$/);
});

test("so it is in Node, and what a program of its own says is passed on as it is", async () => {
  const node = `exports.handler = (event, context, callback) => {
    if (event === "callback") return callback("no such user");
    if (event === "string") throw "x";
    if (event === "exit") process.exit(3);
    if (event === "told") return callback(null, [context.clientContext, typeof context.clientContext]);
    throw new Error("");
  };`;
  const manifest = { name: "throws", runtime: "node", handler: "app.handler", memory: "256MiB" };
  const done = await platform.deploy(manifest, { "app.js": node });
  assert.equal(done.code, 0, done.stderr);
  assert.deepEqual(await failing("throws", "callback"), { errorType: "string", errorMessage: "no such user", trace: [] });
  assert.deepEqual(await failing("throws", "string"), { errorType: "string", errorMessage: "x", trace: [] });
  const { errorType, errorMessage, trace } = await failing("throws", "error");
  assert.deepEqual([errorType, errorMessage, trace[0]], ["Error", "", "Error"]);
  assert.equal((await failing("throws", "exit")).errorType, "Runtime.ExitError");
  const bootstrap = `#!/bin/bash
  api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
  while true; do
    said=$(curl -sS -D /tmp/head "$api/next")
    id=$(grep -i aws-request-id /tmp/head | tr -d '\r' | cut -d' ' -f2)
    client=$(grep -i client-context /tmp/head | tr -d '\r' | cut -d' ' -f2-)
    [ -z "$client" ] || curl -sS -d "$client" "$api/$id/response" > /tmp/answer
    [ -z "$client" ] && curl -sS -d "$said" "$api/$id/error" > /tmp/answer
  done`;
  const program = { name: "own-words", runtime: "executable", memory: "64MiB" };
  const deployed = await platform.deploy(program, { bootstrap });
  assert.equal(deployed.code, 0, deployed.stderr);
  const own = { errorMessage: "a: b", errorType: "my::Error", stackTrace: ["at 1"], cause: { code: 7 } };
  assert.deepEqual(await failing("own-words", own), own);
  assert.deepEqual(await failing("own-words", {}), {
    errorType: "Function.Unknown", errorMessage: "the function said nothing of its error" });
});

test("LogType=Tail gives the end of what this call printed, and of no other", async () => {
  const short = await invoke("greet", { lines: 2 }, { LogType: "Tail" });
  const text = Buffer.from(short.LogResult, "base64").toString();
  assert.match(text, /^START RequestId: \S+ Version: 1\nline 0\nline 1\nEND .*\nREPORT .*\n$/);
  assert.equal(/RequestId: (\S+)/.exec(text)[1], short.$metadata.requestId);
  const long = await invoke("greet", { lines: 2000 }, { LogType: "Tail" });
  const tail = Buffer.from(long.LogResult, "base64").toString();
  assert.equal(tail.length, 4096);
  assert.match(tail, /line 1999\nEND/);
  assert.equal((await invoke("greet", { lines: 2 })).LogResult, undefined);
});

test("every line is of its call, though it is read as the call ends", async () => {
  await deploy("brief", 'def handler(event, context): print("seen", event)', { keep_alive: "0ms" });
  for (let i = 0; i < 40; ++i) {
    const { LogResult } = await invoke("brief", i, { LogType: "Tail" });
    assert.match(Buffer.from(LogResult, "base64").toString(), new RegExp(`\nseen ${i}\n`));
  }
});

test("what a call printed without a line's end is in its own tail, and in no later one's", async () => {
  const python = `
import os, sys
def handler(event, context):
    sys.stdout.write(event["says"])
    if event.get("exit"): sys.stdout.flush(); os._exit(3)
`;
  const node = `export const handler = async (event) => {
    process.stdout.write(event.says);
    if (event.exit) process.exit(3);
  };`;
  await deploy("unended", python);
  const manifest = { name: "unended-node", runtime: "node", handler: "app.handler", memory: "256MiB" };
  const done = await platform.deploy(manifest, { "app.mjs": node });
  assert.equal(done.code, 0, done.stderr);
  for (const name of ["unended", "unended-node"]) {
    for (const says of ["alice-secret", "bob", "a line\nand more"]) {
      const { LogResult, $metadata } = await invoke(name, { says }, { LogType: "Tail" });
      const tail = Buffer.from(LogResult, "base64").toString();
      assert.ok(tail.startsWith(`START RequestId: ${$metadata.requestId} Version: 1\n${says}\nEND `), tail);
      const { stdout } = await platform.cli("logs", name, "--invocation", $metadata.requestId);
      assert.ok(stdout.includes(says.split("\n").at(-1)), stdout);
    }
    const exits = async (says) => JSON.parse(utf8((await invoke(name, { says, exit: true })).Payload)).errorMessage;
    assert.match(await exits(""), /exited with status 3 \(/);
    await invoke(name, { says: "alice-secret" });
    assert.match(await exits("my last"), /exited with status 3; it last printed: my last \(/);
  }
});

test("an HTTP server is not called by Invoke: nothing of it runs", async () => {
  const server = `require("http").createServer((_, answer) => { console.log("called"); answer.end("x"); }).listen(8080);`;
  const manifest = { name: "site", runtime: "web", command: ["node", "app.js"], memory: "256MiB" };
  const done = await platform.deploy(manifest, { "app.js": server });
  assert.equal(done.code, 0, done.stderr);
  for (const InvocationType of ["RequestResponse", "DryRun"]) {
    const refused = await refusal(invoke("site", {}, { InvocationType }));
    assert.deepEqual(refused.slice(0, 2), ["UnsupportedMediaTypeException", 415]);
    assert.match(refused[2], /is an HTTP server: call it at \/f\/NAME\//);
  }
  const { sums } = await control("/api/v1/usage?by=function");
  assert.ok(sums.length > 0 && !JSON.stringify(sums).includes('"site"'), JSON.stringify(sums));
});

test("DryRun is 204 and runs nothing", async () => {
  const dry = await invoke("greet", { lines: 1 }, { InvocationType: "DryRun" });
  assert.equal(dry.StatusCode, 204);
});

test("what is refused is refused in the words that the client has classes for", async () => {
  const rows = [
    [invoke("nobody", {}), "ResourceNotFoundException", 404, /Function not found: nobody/],
    [invoke("greet", {}, { Qualifier: "7" }), "ResourceNotFoundException", 404, /greet:7; version 1 serves, which is \$LATEST/],
    [invoke("greet", {}, { InvocationType: "Event" }), "InvalidParameterValueException", 400, /Event/],
    [invoke("greet", {}, { ClientContext: "e30" }), "InvalidRequestContentException", 400, /^Client context must be a valid Base64-encoded JSON object\.$/],
    [invoke("greet", {}, { ClientContext: "W10=" }), "InvalidRequestContentException", 400, /Base64-encoded JSON object/],
    [invoke("greet", {}, { ClientContext: "e30g".repeat(896) }), "InvalidRequestContentException", 400, /longer than 3583 bytes/],
    [invoke("greet", {}, { Payload: "{" }), "InvalidRequestContentException", 400, /Could not parse/],
    [invoke("greet", "x".repeat(6 << 20)), "RequestTooLargeException", 413, /6291456 bytes/],
  ];
  for (const [call, name, status, message] of rows) {
    const refused = await refusal(call);
    assert.deepEqual(refused.slice(0, 2), [name, status]);
    assert.match(refused[2], message);
  }
});

test("what a client says of itself reaches Python, Node and any program, for that call alone, and no log", async () => {
  const custom = { team: "Zürich \u{1F634}", n: 1.5 };
  const said = { client: { app_title: "till", installation_id: "i-1" }, custom, env: { locale: "de" } };
  const ClientContext = Buffer.from(JSON.stringify(said, null, 2)).toString("base64");
  const told = async (name, event, more) => JSON.parse(utf8((await invoke(name, event, more)).Payload));
  const ofPython = [custom, { locale: "de" }, ["till", "i-1"]];
  const { Payload, $metadata, LogResult } = await invoke("greet", { told: 1 }, { ClientContext, LogType: "Tail" });
  assert.deepEqual(JSON.parse(utf8(Payload)), ofPython);
  assert.equal(await told("greet", { told: 1 }), null);
  assert.deepEqual(await told("greet", { told: 1 }, { ClientContext: "e30=" }), [null, null, null]);
  assert.deepEqual(JSON.parse((await streamed("greet", { told: 1 }, { ClientContext })).text), ofPython);
  assert.deepEqual(await told("throws", "told", { ClientContext }), [said, "object"]);
  assert.deepEqual(await told("throws", "told"), [null, "undefined"]);
  assert.deepEqual(await told("own-words", {}, { ClientContext }), said);
  assert.equal((await failing("own-words", {})).errorType, "Function.Unknown");
  const receipt = await control(`/api/v1/invocations/${$metadata.requestId}`);
  const log = (await platform.cli("logs", "greet")).stdout;
  for (const text of [Buffer.from(LogResult, "base64").toString(), JSON.stringify(receipt), log]) {
    assert.ok(text.length > 0 && !/till|i-1|locale/.test(text), text);
  }
});

test("a full queue is a TooManyRequestsException with its reason", async () => {
  await deploy("narrow", GREET, { max_instances: 1, queue: 1 });
  const calls = Array.from({ length: 6 }, () => invoke("narrow", { sleep: 0.5 }).catch((error) => error));
  const refused = (await Promise.all(calls)).filter((each) => each instanceof aws.TooManyRequestsException);
  assert.ok(refused.length >= 3, `${refused.length}`);
  assert.equal(refused[0].Reason, "ReservedFunctionConcurrentInvocationLimitExceeded");
  assert.ok(Number(refused[0].retryAfterSeconds) >= 1);
});

test("a timeout is of the run, and has no waking in it", async () => {
  await deploy("late", "import time\ntime.sleep(1.5)\n" + GREET, { timeout: "1s", template_keep_alive: "0s" });
  assert.equal((await invoke("late", {})).FunctionError, undefined);
  const late = await invoke("late", { sleep: 10 });
  assert.match(JSON.parse(utf8(late.Payload)).errorMessage, /Task timed out after 1\.00 seconds$/);
});

test("a client that hangs up gives its slot back within 200 ms", async () => {
  const node = `export const handler = async ({ sleep }) => {
  if (sleep) await new Promise((done) => setTimeout(done, sleep * 1000));
};`;
  const limits = { timeout: "60s", max_instances: 1, memory: "128MiB" };
  await deploy("held", GREET, limits);
  const manifest = { name: "held-node", runtime: "node", handler: "app.handler", ...limits };
  const done = await platform.deploy(manifest, { "app.mjs": node });
  assert.equal(done.code, 0, done.stderr);
  const commands = [aws.InvokeCommand, aws.InvokeWithResponseStreamCommand];
  for (const [name, Command] of ["held", "held-node"].flatMap((name) => commands.map((each) => [name, each]))) {
    await promptly("its slot is free", 200, async () => {
      const leave = new AbortController();
      const input = { FunctionName: name, Payload: JSON.stringify({ sleep: 50 }) };
      const call = client(platform).send(new Command(input), { abortSignal: leave.signal });
      const running = async () =>
        (await control("/api/v1/functions")).functions.find((each) => each.name === name).running;
      await eventually("it runs", async () => (await running()) === 1);
      const cause = () => {
        leave.abort();
        return assert.rejects(call);
      };
      return { cause, came: async () => (await running()) === 0 };
    });
  }
});

test("who does not have the secret gets nothing", async () => {
  const wrong = (more) => client(platform, { credentials: { ...platform.credentials, ...more } });
  const rows = [
    [{ secretAccessKey: "0".repeat(64) }, "InvalidSignatureException"],
    [{ accessKeyId: "DM000000000000000000" }, "UnrecognizedClientException"],
  ];
  for (const [more, name] of rows) {
    assert.deepEqual((await refusal(invoke("greet", {}, {}, wrong(more)))).slice(0, 2), [name, 403]);
  }
  // Nor is said which functions there are.
  const [unknown] = await refusal(invoke("nobody", {}, {}, wrong({ secretAccessKey: "0".repeat(64) })));
  assert.equal(unknown, "InvalidSignatureException");
  const unsigned = await platform.request("POST", "/2015-03-31/functions/greet/invocations", { body: "{}" });
  assert.equal(unsigned.status, 403);
  assert.equal(unsigned.headers["x-amzn-errortype"], "MissingAuthenticationTokenException");
  const plain = await platform.request("POST", "/2015-03-31/functions/greet/invocations", {
    body: '{"name": "me"}',
    headers: { authorization: `Bearer ${platform.options.env.DORMOUSE_KEY}` },
  });
  assert.equal(JSON.parse(plain.text).hello, "me");
});

// ---- streams ----

async function streamed(name, event, more = {}) {
  const answer = await client(platform).send(
    new aws.InvokeWithResponseStreamCommand({ FunctionName: name, Payload: JSON.stringify(event), ...more }),
  );
  let text = "";
  let chunks = 0;
  for await (const part of answer.EventStream) {
    if (part.PayloadChunk) {
      text += utf8(part.PayloadChunk.Payload);
      ++chunks;
    }
    if (part.InvokeComplete) return { text, chunks, complete: part.InvokeComplete, answer };
  }
  assert.fail("the stream has no end");
}

test("InvokeWithResponseStream gives the pieces as they come, and how it ended", async () => {
  const code = `
import time
def handler(event, context):
    print("begun")
    for i in range(event["n"]):
        yield f"piece {i}\\n"
        time.sleep(0.05)
    if event.get("breaks"): raise RuntimeError("half-way")
`;
  await deploy("counting", code);
  const whole = await streamed("counting", { n: 5 }, { LogType: "Tail" });
  assert.equal(whole.text, [0, 1, 2, 3, 4].map((i) => `piece ${i}\n`).join(""));
  assert.ok(whole.chunks >= 3, `${whole.chunks}`);
  assert.equal(whole.complete.ErrorCode, undefined);
  assert.match(Buffer.from(whole.complete.LogResult, "base64").toString(), /begun/);
  assert.equal(whole.answer.ExecutedVersion, "1");
  const broken = await streamed("counting", { n: 2, breaks: true });
  assert.equal(broken.text, "piece 0\npiece 1\n");
  assert.equal(broken.complete.ErrorCode, "Unhandled");
  assert.match(JSON.parse(broken.complete.ErrorDetails).errorMessage, /half-way/);
});

test("InvokeWithResponseStream has what HttpResponseStream says of HTTP before the body", async () => {
  const code = `export const handler = awslambda.streamifyResponse(async (event, stream) => {
    awslambda.HttpResponseStream.from(stream, { statusCode: 418, cookies: ["a=b"] }).end("body");
  });`;
  const manifest = { name: "says", runtime: "node", handler: "app.handler", memory: "256MiB" };
  const done = await platform.deploy(manifest, { "app.mjs": code });
  assert.equal(done.code, 0, done.stderr);
  const { text } = await streamed("says", {});
  const [prelude, body] = text.split("\0".repeat(8));
  assert.deepEqual(JSON.parse(prelude), { statusCode: 418, cookies: ["a=b"] });
  assert.equal(body, "body");
});

test("Invoke has of what streams all of it at once, or the error that it ended with", async () => {
  const answer = await invoke("counting", { n: 3 }, { LogType: "Tail" });
  assert.equal(answer.FunctionError, undefined);
  assert.match(Buffer.from(answer.LogResult, "base64").toString(), /START.*REPORT/s);
  assert.equal(utf8(answer.Payload), "piece 0\npiece 1\npiece 2\n");
  const broken = await invoke("counting", { n: 2, breaks: true });
  assert.deepEqual([broken.StatusCode, broken.FunctionError], [200, "Unhandled"]);
  const { errorType, errorMessage } = JSON.parse(utf8(broken.Payload));
  assert.deepEqual([errorType, errorMessage], ["RuntimeError", "half-way"]);
  await deploy("endless", 'def handler(event, context):\n    while True: yield b"x" * 65536\n');
  assert.match(utf8((await invoke("endless", 1)).Payload), /"errorType":"Function.ResponseSizeTooLarge"/);
});

test("a whole answer streams, too, in as many messages as it takes", async () => {
  await deploy("large", 'def handler(event, context): return "x" * event["n"]');
  const { text } = await streamed("large", { n: 3_000_000 });
  assert.equal(text.length, 3_000_002);
  const failed = await streamed("greet", { raise: "at once" });
  assert.equal(failed.text, "");
  assert.equal(JSON.parse(failed.complete.ErrorDetails).errorType, "ValueError");
  assert.equal((await refusal(streamed("nobody", {})))[0], "ResourceNotFoundException");
});
