// Functions in Python: what their users rely on, most of it Lambda's.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { eventually, program, repository } from "./platform.mjs";
import { deployPython, pythonIn, startPlatform } from "./pythons.mjs";

const image = mkdtempSync(path.join(tmpdir(), "dormouse-image-"));

// A root with nothing of the host's but copies: its Python, and the libraries that it asks for.
function makeImage() {
  const version = realpathSync("/usr/bin/python3").split("/").pop();
  const library = `/usr/lib/${version}`;
  const needed = ["/usr/bin/python3", ...readdirSync(`${library}/lib-dynload`, { recursive: true })
    .map((name) => `${library}/lib-dynload/${name}`)];
  const said = execFileSync("ldd", needed, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const libraries = new Set([...said.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]));
  for (const file of ["/usr/bin/python3", ...libraries]) {
    mkdirSync(path.dirname(image + file), { recursive: true });
    copyFileSync(file, image + file);
  }
  cpSync(library, image + library, { recursive: true });
  chmodSync(image, 0o755);
}

let platform;
before(async () => {
  makeImage();
  platform = await startPlatform(pythonIn(image, "python-of-an-image"));
});
after(async () => {
  await platform.stop();
  rmSync(image, { recursive: true });
});

const json = { "content-type": "application/json" };

const deploy = (...what) => deployPython(platform, ...what);
const call = (name, event) => platform.callJson(name, event);

// A socket that lingers holds up whoever closes it last: passed to the daemon, all of it.
test("a program has TCP and UDP, and sets the options of its sockets but for the one that holds others up", async () => {
  await deploy("options", `import ctypes, errno, socket, struct
SO_LINGER = 13
def outcome(level, name, value):
    with socket.socket() as end:
        try:
            end.setsockopt(level, name, value)
        except OSError as refused:
            return errno.errorcode[refused.errno]
    return "set"
def beyond_32_bits():
    libc, value = ctypes.CDLL(None, use_errno=True), struct.pack("ii", 1, 3600)
    with socket.socket() as end:
        setsockopt = 54
        done = libc.syscall(ctypes.c_long(setsockopt), ctypes.c_long(end.fileno()), ctypes.c_long(1 | 1 << 32),
                            ctypes.c_long(SO_LINGER | 1 << 32), value, ctypes.c_long(8))
        return "set" if done == 0 else errno.errorcode[ctypes.get_errno()]
def made(family, kind, protocol):
    try:
        socket.socket(family, kind, protocol).close()
    except OSError as refused:
        return errno.errorcode[refused.errno]
    return "made"
def handler(event, context):
    sctp, udplite, mptcp, icmp = 132, 136, 262, 1
    families = (socket.AF_INET, socket.AF_INET6)
    kinds = (socket.SOCK_STREAM, 6), (socket.SOCK_STREAM, 0), (socket.SOCK_DGRAM, 17), (socket.SOCK_DGRAM, 0)
    others = ((socket.SOCK_SEQPACKET, sctp), (socket.SOCK_SEQPACKET, 0), (socket.SOCK_STREAM, sctp), (socket.SOCK_STREAM, mptcp),
              (socket.SOCK_DGRAM, udplite), (socket.SOCK_DGRAM, icmp), (socket.SOCK_RAW, 255))
    usual = [getattr(socket, name) for name in ("SO_REUSEADDR", "SO_KEEPALIVE", "SO_SNDBUF", "SO_RCVBUF",
                                                "SO_REUSEPORT", "SO_BROADCAST", "SO_OOBINLINE", "SO_PRIORITY")]
    return {"usual": sorted({outcome(socket.SOL_SOCKET, name, 1) for name in usual}),
            "timeout": outcome(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0)),
            "tcp": outcome(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            "linger": outcome(socket.SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 3600)),
            "beyond": beyond_32_bits(),
            "kinds": sorted({made(family, *kind) for family in families for kind in kinds}),
            "others": sorted({made(family, *other) for family in families for other in others})}`);
  assert.deepEqual(await call("options", {}), {
    usual: ["set"], timeout: "set", tcp: "set", linger: "EPERM", beyond: "EPERM",
    kinds: ["made"], others: ["EPERM"],
  });
});

test("what init writes, one file, and a zip of a folder are deployed from the command line", async () => {
  const folder = path.join(platform.dir, "begun");
  const init = await platform.cli("init", "python", folder);
  assert.equal(init.code, 0, init.stderr);
  const file = path.join(platform.dir, "app.py");
  writeFileSync(file, "import beside\ndef handler(event, context): return beside.twice(event)");
  writeFileSync(path.join(platform.dir, "beside.py"), "def twice(what): return what * 2");
  const zip = path.join(platform.dir, "code.zip");
  execFileSync("/usr/bin/python3", ["-m", "zipfile", "-c", zip, "app.py", "beside.py"], { cwd: platform.dir });
  const alone = path.join(platform.dir, "alone.py");
  writeFileSync(alone, "def handler(event, context): return event + 1");
  for (const words of [[folder], [zip, "--name", "zipped"], [alone]]) {
    const done = await platform.cli("deploy", ...words);
    assert.equal(done.code, 0, done.stderr);
  }
  assert.equal(typeof (await call("begun", { name: "you" })), "object");
  assert.equal(await call("zipped", 21), 42);
  assert.equal(await call("alone", 41), 42);
});

test("a Lambda handler runs unchanged, and its exception fails its own call only", async () => {
  const done = await platform.cli("deploy", path.join(repository, "examples/lambda-handler"));
  assert.equal(done.code, 0, done.stderr);
  const order = { lines: [{ item: "tea", count: 2 }, { item: "cake" }] };
  const { statusCode, body } = await call("price-order", order);
  assert.equal(statusCode, 200);
  assert.deepEqual(JSON.parse(body), { total: "9.80", function: "price-order" });
  const wrong = await platform.invoke("price-order", '{"lines": [{"item": "gold"}]}', json);
  assert.equal(wrong.status, 502);
  const { error } = JSON.parse(wrong.text);
  assert.equal(error.blame, "function");
  assert.equal(error.message, "UnknownItem: we do not sell gold");
  await eventually("the traceback is in the log", async () => {
    const { stdout } = await platform.cli("logs", "price-order");
    return stdout.includes("in lambda_handler") && stdout.includes("order 0");
  });
  const again = await platform.invoke("price-order", JSON.stringify(order), json);
  assert.doesNotMatch(again.headers["server-timing"], /wake/);
});

test("the context, the environment and the time that is left are Lambda's", async () => {
  await deploy(
    "context",
    `import os, time
def handler(event, context):
    time.sleep(0.05)
    return {"id": context.aws_request_id, "name": context.function_name,
            "memory": context.memory_limit_in_mb, "left": context.get_remaining_time_in_millis(),
            "env": {k: os.environ.get(k) for k in ("GREETING", "LAMBDA_TASK_ROOT", "_HANDLER", "AWS_REGION", "PATH")},
            "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
            "event": event, "cwd": os.getcwd()}`,
    { timeout: "5s", env: { GREETING: "good morning" } },
  );
  const answer = await platform.invoke("context", '{"a": [1, null, "ü"]}', json);
  const said = JSON.parse(answer.text);
  assert.equal(said.id, answer.headers["dormouse-invocation"]);
  assert.equal(said.name, "context");
  assert.equal(said.memory, "128");
  assert.deepEqual(said.identity, [null, null]);
  assert.ok(said.left > 3000 && said.left <= 4950, `${said.left} ms left`);
  assert.deepEqual(said.env, {
    GREETING: "good morning",
    LAMBDA_TASK_ROOT: "/code",
    _HANDLER: "app.handler",
    AWS_REGION: "local",
    PATH: "/usr/local/bin:/usr/bin:/bin",
  });
  assert.deepEqual(said.event, { a: [1, null, "ü"] });
  assert.equal(said.cwd, "/code");
});

test("the log says of each call when it began, what it printed and what it took", async () => {
  await deploy("talker", "def handler(event, context):\n    print('I say', event)", { timeout: "10s" });
  const said = await platform.invoke("talker", "7", json);
  await platform.invoke("talker", "8", json);
  const id = said.headers["dormouse-invocation"];
  const lines = await eventually("its lines", async () => {
    const { stdout } = await platform.cli("logs", "talker", "--invocation", id);
    return stdout.includes("REPORT") && stdout.trim().split("\n").map((line) => line.slice(25));
  });
  assert.equal(lines.length, 4, lines.join("\n"));
  assert.equal(lines[0], `START RequestId: ${id} Version: 1`);
  assert.equal(lines[1], "I say 7");
  assert.equal(lines[2], `END RequestId: ${id}`);
  const billed = said.headers["dormouse-billed-ms"];
  assert.match(
    lines[3],
    new RegExp(
      `^REPORT RequestId: ${id}\\tDuration: [\\d.]+ ms\\tBilled Duration: ${billed} ms\\t` +
        "Memory Size: 128 MB\\tMax Memory Used: \\d+ MB\\tInit Duration: [\\d.]+ ms$",
    ),
  );
});

test("the lines of a call are followed as it prints them, and no other's", async () => {
  const code = `import time
def handler(event, context):
    yield "begun"
    for n in range(20):
        print(event, n, flush=True)
        time.sleep(0.1)`;
  await deploy("slowly", code, { timeout: "10s" });
  const begin = (event) =>
    fetch(`${platform.url}/f/slowly`, { method: "POST", headers: json, body: JSON.stringify(event) });
  const [one, two] = await Promise.all(["one", "two"].map(begin));
  const id = one.headers.get("dormouse-invocation");
  let ended = false;
  const answers = Promise.all([one.text().finally(() => (ended = true)), two.text()]);
  const env = { ...process.env, DORMOUSE_URL: platform.url };
  const follower = spawn(program, ["logs", "slowly", "-f", "--invocation", id], { env });
  let said = "";
  follower.stdout.on("data", (text) => (said += text));
  await eventually("a line that has just come", () => said.includes("one 5\n"));
  assert.equal(ended, false);
  assert.deepEqual(await answers, ["begun", "begun"]);
  await eventually("its last line", () => said.includes("REPORT"));
  follower.kill();
  const lines = said.trim().split("\n").map((line) => line.slice(25));
  const printed = Array.from({ length: 20 }, (_, n) => `one ${n}`);
  assert.deepEqual(lines.slice(0, -1), [
    `START RequestId: ${id} Version: 1`, ...printed, `END RequestId: ${id}`]);
});

test("the Python of an image is forked, and sees nothing of the host's", async () => {
  const code = `import os
kept = os.path.exists("/usr/bin/env")
def handler(event, context):
    return [kept, open("/code/app.py").readline().strip()]`;
  const { revision } = await deploy("other", code, { runtime: "python-of-an-image" });
  assert.equal(revision.notes.template, "yes");
  assert.deepEqual(await call("other"), [false, "import os"]);
  await eventually("what its log says", async () =>
    /START RequestId.*END RequestId/s.test((await platform.cli("logs", "other")).stdout),
  );
});

test("async handlers, generators, bytes and large bodies", async () => {
  await deploy(
    "kinds",
    `import asyncio
async def slow(x):
    await asyncio.sleep(0.01)
    return x
def stream(n):
    for i in range(n):
        yield "x" * 1000
async def astream(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield b"y" * 1000
def handler(event, context):
    if event["kind"] == "async": return slow(event)
    if event["kind"] == "stream": return stream(event["n"])
    if event["kind"] == "astream": return astream(event["n"])
    if event["kind"] == "bytes": return bytes(range(256)) * event["n"]
    if event["kind"] == "exit": raise SystemExit(3)
    if event["kind"] == "break": return broken()
    if event["kind"] == "early": return early()
    if event["kind"] == "nothing": return stream(0)
    return len(event["text"])
def broken():
    yield "begun"
    raise ValueError("half-way")
def early():
    raise ValueError("too early")
    yield`,
  );
  assert.deepEqual(await call("kinds", { kind: "async" }), { kind: "async" });
  for (const kind of ["stream", "astream"]) {
    const answer = await platform.invoke("kinds", `{"kind": "${kind}", "n": 1500}`, json);
    assert.equal(answer.body.length, 1_500_000);
  }
  const bytes = await platform.invoke("kinds", '{"kind": "bytes", "n": 4096}', json);
  assert.equal(bytes.headers["content-type"], "application/octet-stream");
  assert.equal(bytes.body.length, 1 << 20);
  assert.equal(bytes.body[257], 1);
  assert.equal(await call("kinds", { kind: "large", text: "z".repeat(2 << 20) }), 2 << 20);
  const exits = await platform.invoke("kinds", '{"kind": "exit"}', json);
  assert.equal(JSON.parse(exits.text).error.message, "SystemExit: 3");
  await assert.rejects(platform.invoke("kinds", '{"kind": "break"}', json));
  const early = await platform.invoke("kinds", '{"kind": "early"}', json);
  assert.deepEqual([early.status, JSON.parse(early.text).error.message], [502, "ValueError: too early"]);
  const nothing = await platform.invoke("kinds", '{"kind": "nothing"}', json);
  assert.deepEqual([nothing.status, nothing.body.length], [200, 0]);
  assert.deepEqual(await call("kinds", { kind: "async" }), { kind: "async" });
});

test("asyncio is there for async handlers, wrapped ones too, and costs no other one its import", async () => {
  const code = (handler) => `import functools, sys
there = lambda: "asyncio" in sys.modules
${handler}`;
  const wrapped = `def twice(function):
    @functools.wraps(function)
    def both(event, context): return function(event, context)
    return both
@twice
async def handler(event, context): return there()`;
  await deploy("plain", code("def handler(event, context): return there()"));
  await deploy("asynchronous", code("async def handler(event, context): return there()"));
  await deploy("wrapped", code(wrapped));
  assert.deepEqual([await call("plain"), await call("asynchronous"), await call("wrapped")], [false, true, true]);
  const awaited = "async def later(): return 7\ndef handler(event, context): return later()";
  await deploy("awaited", awaited);
  await deploy("awaited-beside", awaited, { concurrency: 4 });
  for (const name of ["awaited", "awaited-beside"]) {
    assert.deepEqual(await Promise.all([call(name), call(name), call(name)]), [7, 7, 7]);
  }
  const unwrapped = "class Odd:\n    def __getattr__(self, name): return self\n    def __call__(self, *_): return 8";
  await deploy("odd", `${unwrapped}\nhandler = Odd()`);
  assert.equal(await call("odd"), 8);
});

test("a Decimal is answered as a number, as on Lambda", async () => {
  const code = `from decimal import Decimal
def handler(event, context): return [Decimal("3"), Decimal("0.5"), {"of": Decimal("-1E+2")}]`;
  await deploy("decimals", code);
  assert.deepEqual(await call("decimals"), [3, 0.5, { of: -100 }]);
});

test("at a concurrency above 1 calls run side by side in one instance", async () => {
  await deploy(
    "beside",
    `import asyncio, threading
together = threading.Barrier(3, timeout=10)
waiting = []
async def meet(event):
    waiting.append(asyncio.get_running_loop())
    while len(waiting) < 3:
        await asyncio.sleep(0.002)
    return len(set(map(id, waiting)))
async def leave():
    raise SystemExit(4)
async def stream(text):
    for _ in range(1000):
        await asyncio.sleep(0)
        yield text * 1000
def handler(event, context):
    if event["kind"] == "async": return meet(event)
    if event["kind"] == "exit": return leave()
    if event["kind"] == "stream": return stream(event["text"])
    if event["kind"] == "large": together.wait(); return event["text"] * (1 << 20)
    return together.wait()`,
    { concurrency: 6, max_instances: 1, timeout: "15s" },
  );
  const three = (event) => Promise.all(["a", "b", "c"].map((text) => call("beside", { ...event, text })));
  assert.deepEqual((await three({ kind: "sync" })).sort(), [0, 1, 2]);
  assert.deepEqual(await three({ kind: "async" }), [1, 1, 1], "all on one event loop");
  const large = await three({ kind: "large" });
  assert.deepEqual(large.map((text) => [text[0], text.length]), [["a", 1 << 20], ["b", 1 << 20], ["c", 1 << 20]]);
  const streams = await Promise.all(
    ["x", "y"].map((text) => platform.invoke("beside", JSON.stringify({ kind: "stream", text }), json)),
  );
  assert.deepEqual(streams.map(({ body }) => [body.length, String.fromCharCode(body[999_999])]), [
    [1_000_000, "x"],
    [1_000_000, "y"],
  ]);
  const exits = await platform.invoke("beside", '{"kind": "exit"}', json);
  assert.equal(JSON.parse(exits.text).error.message, "SystemExit: 4");
  assert.deepEqual((await three({ kind: "sync" })).sort(), [0, 1, 2], "and it goes on");
});

test("TZ is obeyed as the code is loaded and in forks, PYTHONPATH is searched, LD_LIBRARY_PATH is refused", async () => {
  const code = `
import time
import deep
loaded = time.tzname[0]
def handler(event, context): return [loaded, time.tzname[0], time.localtime(0).tm_hour, deep.SAID]
`;
  const env = { TZ: "Asia/Tokyo", PYTHONPATH: "/code/none:lib/more" };
  const more = { "lib/more/deep.py": "SAID = 'deep'" };
  for (const concurrency of [1, 2]) {
    await deploy("tokyo", code, { env, concurrency }, more);
    assert.deepEqual(await call("tokyo"), ["JST", "JST", 9, "deep"]);
  }
  await deploy("tokyo", code, {}, { "deep.py": "SAID = 1" });
  assert.deepEqual(await call("tokyo"), ["UTC", "UTC", 0, 1]);
  const manifest = { name: "tokyo", runtime: "python", handler: "app.handler", env: { LD_LIBRARY_PATH: "/code/lib" } };
  const refused = await platform.deploy(manifest, { "app.py": code });
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /env: LD_LIBRARY_PATH is read as a program starts/);
});

test("what is not JSON comes as a function URL's event", async () => {
  await deploy("raw", "def handler(event, context):\n    return event");
  const picture = await platform.invoke("raw", Buffer.from([1, 2, 255]), {
    "content-type": "image/png",
  });
  const event = JSON.parse(picture.text);
  assert.equal(event.isBase64Encoded, true);
  assert.equal(event.body, Buffer.from([1, 2, 255]).toString("base64"));
  assert.equal(event.headers["content-type"], "image/png");
  const bad = await platform.invoke("raw", "{", json);
  assert.equal(bad.status, 400);
  assert.match(bad.text, /the body is not JSON/);
});

test("a deploy that cannot work says why, in the code's own words", async () => {
  const cases = [
    ["import nothing_like_this\n", "app.handler", /No module named 'nothing_like_this'/],
    ["import boto3\n", "app.handler", /No module named 'boto3'; AWS's runtimes bring boto3.*pip install --target \. boto3.*python3-boto3/],
    ["import botocore.session\n", "app.handler", /No module named 'botocore'; AWS's runtimes bring botocore/],
    ["def other(e, c): pass\n", "app.handler", /app has no "handler"; it has: other/],
    ["def handler(e, c): pass\n", "main.handler", /no module "main"; the code has: app.py/],
    ["def handler(e, c) pass\n", "app.handler", /SyntaxError/],
    ["import sys\nsys.exit(4)\n", "app.handler", /SystemExit: 4/],
    ["import os\nos._exit(4)\n", "app.handler", /exited with status 4/],
  ];
  for (const [code, handler, why] of cases) {
    const manifest = { name: "broken", runtime: "python", handler, memory: "128MiB" };
    const done = await platform.deploy(manifest, { "app.py": code });
    assert.notEqual(done.code, 0);
    assert.match(done.stderr, why);
  }
  assert.equal(await platform.status("broken"), undefined);
});

test("what is printed without a line's end does not hold up what is printed after it", async () => {
  await deploy(
    "halting",
    `import sys, time
def handler(event, context):
    print("half a line", end="", flush=True)
    time.sleep(0.2)
    for _ in range(300): print("y" * 1000)
    print("the last words", end="", flush=True)
    return "done"`,
    { timeout: "10s" },
  );
  assert.equal(await call("halting"), "done");
  await eventually("its last words", async () =>
    (await platform.cli("logs", "halting", "--lines", "1000")).stdout.includes("the last words"),
  );
});

test("how an instance ended says what its own call printed, and nothing of the call before", async () => {
  const code = `import os
def handler(event, context):
  if event["say"]: print(event["say"])
  if event["ends"]: os._exit(4)`;
  await deployPython(platform, "last-words", code);
  const told = async (say, ends) =>
    (await platform.invoke("last-words", JSON.stringify({ say, ends }), { "content-type": "application/json" })).text;
  assert.equal(await told("only for one", false), "null");
  assert.match(await told("", true), /exited with status 4 \(/);
  assert.match(await told("its own", true), /exited with status 4; it last printed: its own/);
});

test("a child that a handler forked does not come back as a second worker", async () => {
  const code = `import os
def handler(event, context):
  if os.fork() == 0:
    return "from the child"
  os.wait()
  return "from the worker"`;
  await deployPython(platform, "forking", code);
  assert.deepEqual([await call("forking", 1), await call("forking", 2)], ["from the worker", "from the worker"]);
  assert.match((await platform.cli("logs", "forking")).stdout, /a child must end itself with os._exit/);
});

test("invoke prints a stream as it comes, and of one that breaks off what there was", async () => {
  const code = `import time
def handler(event, context):
  yield "first"
  time.sleep(1)
  raise ValueError("no more")`;
  await deployPython(platform, "breaking", code);
  const began = Date.now();
  const child = spawn(program, ["--url", platform.url, "invoke", "breaking", "1"]);
  const said = { stdout: "", stderr: "" };
  const first = new Promise((resolve) => child.stdout.once("data", resolve));
  for (const stream of ["stdout", "stderr"]) child[stream].on("data", (bytes) => (said[stream] += bytes));
  const ended = once(child, "close");
  await first;
  assert.equal(child.exitCode, null, "it goes on");
  assert.deepEqual([(await ended)[0], said.stdout], [1, "first"]);
  assert.match(said.stderr, /^\ndormouse: the answer broke off/);
  assert.ok(Date.now() - began >= 1000);
});
