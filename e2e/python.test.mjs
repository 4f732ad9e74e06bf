// Functions in Python, forked from a template: what their users rely on, and the walls between forks.
//
// DORMOUSE_PYTHON_ROOT   a file system with another Python, by which they run instead of the host's
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Platform, eventually, repository, roots, sleep } from "./platform.mjs";

const image = mkdtempSync(path.join(tmpdir(), "dormouse-image-"));
const unseeded = mkdtempSync(path.join(tmpdir(), "dormouse-unseeded-"));

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

// Our part of a root, but for what makes random states new in a fork: K1's control.
function makeUnseeded() {
  cpSync(`${roots}/host/opt/dormouse`, unseeded, { recursive: true });
  const file = path.join(unseeded, "python/dormouse_worker/template.py");
  const code = readFileSync(file, "utf8");
  const without = code.replace(/(def make_new\(\):\n {4}"""[^"]*""")/, "$1\n    return");
  assert.notEqual(without, code);
  writeFileSync(file, without);
  chmodSync(unseeded, 0o755);
}

const pythonIn = (root, name, { ours = `${roots}/host/opt/dormouse`, more = "" } = {}) => `  ${name}:
    root: ${root}
    argv: [/opt/dormouse/init, /usr/bin/python3, -I, -S, -B, /opt/dormouse/python/worker.py]
    binds: [{ source: ${ours}, target: /opt/dormouse }${more}]
    forks: true
    reports: true
    loopback: true
    blanks: 0
`;

let platform;
before(async () => {
  makeImage();
  makeUnseeded();
  const more = ["/usr", "/etc/alternatives"].map((folder) => `, { source: ${folder}, target: ${folder} }`).join("");
  const other = process.env.DORMOUSE_PYTHON_ROOT;
  const config =
    pythonIn(image, "python-of-an-image") +
    pythonIn(`${roots}/host`, "python-of-the-host", { more }) +
    pythonIn(`${roots}/host`, "python-unseeded", { ours: unseeded, more }) +
    (other ? pythonIn(other, "python") : "");
  platform = await Platform.start({ config });
});
after(async () => {
  await platform.stopLeavingNothing();
  rmSync(image, { recursive: true });
  rmSync(unseeded, { recursive: true });
});

const json = { "content-type": "application/json" };

async function deploy(name, code, more = {}, files = {}) {
  const manifest = { name, runtime: "python", handler: "app.handler", memory: "128MiB", ...more };
  const done = await platform.deploy(manifest, { "app.py": code, ...files });
  assert.equal(done.code, 0, done.stderr);
  return (await platform.json("show", name)).function;
}

const call = (name, event) => platform.callJson(name, event);

const isAsleep = async (name) => {
  const { instances } = await platform.status(name);
  return Object.values(instances).every((count) => count === 0);
};

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
            "event": event, "cwd": os.getcwd()}`,
    { timeout: "5s", env: { GREETING: "good morning" } },
  );
  const answer = await platform.invoke("context", '{"a": [1, null, "ü"]}', json);
  const said = JSON.parse(answer.text);
  assert.equal(said.id, answer.headers["dormouse-invocation"]);
  assert.equal(said.name, "context");
  assert.equal(said.memory, "128");
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
    return len(event["text"])
def broken():
    yield "begun"
    raise ValueError("half-way")`,
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
  assert.deepEqual(await call("kinds", { kind: "async" }), { kind: "async" });
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

test("code that starts a thread is not forked, and its instances have it", async () => {
  const shown = await deploy(
    "threaded",
    `import threading, time
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.01)
threading.Thread(target=tick, name="ticker", daemon=True).start()
def handler(event, context):
    before = ticks
    time.sleep(0.1)
    return ticks - before`,
  );
  assert.match(shown.revision.notes.template, /^no: app started the thread ticker, which a fork would not have$/);
  assert.ok((await call("threaded")) > 2);
});

// Every call a fork of its own.
const apart = { keep_alive: "0ms", max_instances: 4 };

// It is asleep in libc, in a function of libworkers.so: that is whose it is.
test("code that starts a native thread is not forked, for its library's sake, and its instances have it", async (t) => {
  const folder = path.join(platform.dir, "native");
  mkdirSync(folder);
  const source = `#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>
static void* work(void* nothing) { for (;;) sleep(1000); return nothing; }
__attribute__((constructor)) static void begin(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, work, NULL) == 0) pthread_setname_np(thread, "worker-7");
}`;
  const words = ["-x", "c", "-shared", "-fPIC", "-o", path.join(folder, "libworkers.so"), "-"];
  const made = spawnSync("cc", words, { input: source, encoding: "utf8" });
  if (made.error?.code === "ENOENT") return t.skip("there is no C compiler");
  assert.equal(made.status, 0, made.stderr);
  const code = `import ctypes, os
ctypes.CDLL("/code/libworkers.so")
def handler(event, context):
    return len(os.listdir("/proc/self/task"))`;
  const library = readFileSync(path.join(folder, "libworkers.so"));
  const { revision } = await deploy("native", code, {}, { "libworkers.so": library });
  assert.equal(revision.notes.template,
    "no: its fork: it has threads, which a fork would not have: worker-7 of libworkers.so");
  assert.equal(await call("native"), 2);
});

test("no two forks draw the same random bytes (K1, K2), and the test would see it", async () => {
  const shown = await deploy(
    "dice",
    `import ctypes, os, random, secrets, ssl, time, uuid
random.random(); ssl.RAND_bytes(16); uuid.uuid4(); secrets.token_bytes(16)
own = random.Random(7)
tls = ssl.create_default_context()  # What forks inherit: a context, and a key to sign with.
crypto = ctypes.CDLL("libcrypto.so.3")
for name in ("EC_KEY_new_by_curve_name", "ECDSA_do_sign", "ECDSA_SIG_get0_r", "BN_bn2hex"):
    getattr(crypto, name).restype = ctypes.c_void_p
key = ctypes.c_void_p(crypto.EC_KEY_new_by_curve_name(415))
assert crypto.EC_KEY_generate_key(key) == 1

def hello():
    """The random bytes and the session that a client begins TLS with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        sent = outgoing.read()
        return sent[11:43].hex(), sent[44:44 + sent[43]].hex()

def nonce():
    """Of a signature, always of the same: r is equal where the nonce is."""
    signed = ctypes.c_void_p(crypto.ECDSA_do_sign(bytes(32), 32, key))
    r = ctypes.c_void_p(crypto.ECDSA_SIG_get0_r(signed))
    return ctypes.string_at(crypto.BN_bn2hex(r)).decode()

hello(), nonce()
def handler(event, context):
    time.sleep(0.03)  # So that another fork is sooner than this one.
    return {"random": random.getrandbits(128).to_bytes(16, "big").hex(), "os": os.urandom(16).hex(),
            "ssl": ssl.RAND_bytes(16).hex(), "uuid": uuid.uuid4().hex, "hello": hello(), "nonce": nonce(),
            "secrets": secrets.token_bytes(16).hex(), "own": own.getrandbits(128), "pid": os.getpid()}`,
    apart,
  );
  assert.equal(shown.revision.notes.template, "yes");
  const drawn = [];
  const forks = process.env.DORMOUSE_NIGHTLY ? 10_000 : 500;
  for (let i = 0; i < forks; i += 4) {
    drawn.push(...(await Promise.all([0, 1, 2, 3].map(() => call("dice")))));
  }
  const all = drawn.flatMap(({ random, os, ssl, uuid, secrets, hello, nonce }) => {
    assert.deepEqual([hello[0].length, hello[1].length, nonce.length > 50], [64, 64, true]);
    return [random, os, ssl, uuid, secrets, ...hello, nonce];
  });
  assert.equal(new Set(all).size, all.length);
  assert.ok(new Set(drawn.map(({ pid }) => pid)).size > forks / 3, "calls shared their forks");
  // The control: a generator of the function's own is copied, which template.md says.
  assert.ok(new Set(drawn.map(({ own }) => own)).size < forks / 3);
});

// As many draws as forks, and how many of them are equal to another.
async function doubles(name, forks) {
  const drawn = [];
  for (let i = 0; i < forks; i += 4) {
    drawn.push(...(await Promise.all([0, 1, 2, 3].map(() => call(name)))));
  }
  const all = drawn.flat();
  return all.length - new Set(all).size;
}

test("K1: numpy's and torch's generators are new in a fork, and are not where nothing makes them so", async (t) => {
  const code = (module, draw) => `import ${module}, time
${draw}
def handler(event, context):
    time.sleep(0.03)
    return ${draw}.tolist()`;
  const without = await platform.deploy(
    { name: "without", runtime: "python", handler: "app.handler", memory: "128MiB" },
    { "app.py": "import numpy" },
  );
  assert.match(without.stderr, /No module named 'numpy'/);
  const host = { ...apart, python: { packages: "host" } };
  const numpy = code("numpy", "numpy.random.random(4)");
  await deploy("with-numpy", numpy, { ...host, memory: "256MiB" });
  assert.equal(await doubles("with-numpy", 500), 0);
  await deploy("numpy-unseeded", numpy, { ...host, memory: "256MiB", runtime: "python-unseeded" });
  assert.ok((await doubles("numpy-unseeded", 16)) > 16);
  const skip = spawnSync("/usr/bin/python3", ["-c", "import torch"]).status !== 0 && "there is no torch";
  await t.test("torch", { skip }, async () => {
    const torch = code("torch", "torch.rand(4, dtype=torch.float64)");
    await deploy("with-torch", torch, { ...host, memory: "1GiB", runtime: "python-of-the-host" });
    assert.equal(await doubles("with-torch", 48), 0);
    await deploy("torch-unseeded", torch, { ...host, memory: "1GiB", runtime: "python-unseeded" });
    assert.ok((await doubles("torch-unseeded", 16)) > 16);
  });
});

// Where Debian's alternatives for libblas.so.3 are: its own, and OpenBLAS, which keeps threads.
for (const [name, folder] of [["the reference BLAS", "blas"], ["OpenBLAS", "openblas-pthread"]]) {
  const library = `/usr/lib/x86_64-linux-gnu/${folder}/libblas.so.3`;
  const skip = !existsSync((process.env.DORMOUSE_PYTHON_ROOT ?? "") + library) && `${library} is not installed: scripts/setup --test installs it`;
  test(`numpy on ${name} is forked, and its products are right in forks`, { skip }, async () => {
    const shown = await deploy(
      folder,
      `import ctypes, os, time
ctypes.CDLL("${library}", ctypes.RTLD_GLOBAL)  # numpy finds it loaded, whatever the host's choice is.
import numpy
numpy.ones((200, 200)) @ numpy.ones((200, 200))  # In the template, too.
def handler(seed, context):
    whole = numpy.random.default_rng(seed).integers(-99, 99, (2, 200, 200))
    floats = whole.astype("float64")
    right = bool((floats[0] @ floats[1] == whole[0] @ whole[1]).all())  # Whole numbers use no BLAS.
    used = {line.split()[-1] for line in open("/proc/self/maps") if "libblas.so" in line}
    time.sleep(0.03)  # So that another fork is sooner than this one.
    return {"right": right, "used": sorted(used), "pid": os.getpid()}`,
      { ...apart, memory: "256MiB", python: { packages: "host" } },
    );
    assert.equal(shown.revision.notes.template, "yes");
    const pids = new Set();
    for (let round = 0; round < 5; ++round) {
      for (const said of await Promise.all([1, 2, 3, 4].map((seed) => call(folder, seed)))) {
        assert.equal(said.right, true);
        assert.equal(said.used.length, 1, said.used.join());
        assert.ok(said.used[0].includes(`/${folder}/`), said.used[0]);
        pids.add(said.pid);
      }
    }
    assert.ok(pids.size > 5, `${pids.size} forks`);
  });
}

test("forks have a uid, a /tmp and a shared memory of their own, and cannot reach each other", async () => {
  await deploy(
    "siblings",
    `import os, time, signal
def names(folder):
    try: return sorted(os.listdir(folder))
    except OSError as e: return type(e).__name__
def handler(event, context):
    out = {"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid(), "tmp": names("/tmp"), "shm": names("/dev/shm")}
    status = dict(l.rstrip("\\n").split(":\\t") for l in open("/proc/self/status") if l.startswith(("CapEff", "CapPrm", "Seccomp:", "NoNewPrivs")))
    out.update(status)
    open("/tmp/mine", "w").write("x"); open("/dev/shm/mine", "w").write("x")
    if event["do"] == "sit":
        time.sleep(1.5)
        out["alive"] = True
    else:
        time.sleep(0.5)
        others = [pid for pid in os.listdir("/proc") if pid.isdigit() and pid != str(os.getpid())]
        out["others"] = others
        ways = [f"/proc/{pid}/root/tmp" for pid in others] + [f"/proc/{pid}/cwd" for pid in others]
        ways += ["/slots", "/slots/template", *(f"/slots/{n}/tmp" for n in range(100))]
        out["seen"] = [way for way in ways if names(way) not in ("PermissionError", "FileNotFoundError", [])]
        out["fds"] = sorted({os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in (0, 1, 2, 3)})
        for attempt in ("kill", "setuid", "chroot"):
            try:
                if attempt == "kill":
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    os.kill(-1, signal.SIGTERM)
                if attempt == "setuid": os.setuid(1000)
                if attempt == "chroot": os.chroot("/tmp")
                out[attempt] = "done"
            except OSError as e:
                out[attempt] = type(e).__name__
    return out`,
    apart,
  );
  const sits = call("siblings", { do: "sit" });
  await sleep(200);
  const tries = await call("siblings", { do: "attack" });
  const sat = await sits;
  assert.equal(sat.alive, true);
  assert.notEqual(sat.uid, tries.uid);
  for (const each of [sat, tries]) {
    assert.ok(each.uid >= 2000 && each.gid === each.uid);
    assert.deepEqual([each.tmp, each.shm], [[], []]);
    assert.match(each.CapEff, /^0+$/);
    assert.match(each.CapPrm, /^0+$/);
    assert.equal(each.Seccomp, "2");
    assert.equal(each.NoNewPrivs, "1");
  }
  assert.equal(tries.setuid, "PermissionError");
  assert.equal(tries.chroot, "PermissionError");
  assert.equal(tries.kill, "done"); // It reached nobody.
  assert.ok(tries.others.includes(`${sat.pid}`), "it did not see its sibling");
  assert.deepEqual(tries.seen, []);
  assert.deepEqual(tries.fds, ["/dev/null", "pipe", "socket"]);
});

test("a template's heap is in huge pages, and its forks share it", async () => {
  const code = "kept = bytearray(64 << 20)\ndef handler(event, context):\n    return kept[5]";
  await deploy("heap", code, { keep_alive: "300ms" });
  await eventually("huge pages", async () => {
    // A fork from before they were there has the small ones for itself.
    await eventually("asleep", () => isAsleep("heap"));
    assert.equal(await call("heap"), 0);
    const { template, instance } = (await platform.json("show", "heap")).function;
    return template?.huge_page_bytes > 60 << 20 && instance?.own_bytes < 4 << 20;
  });
});

test("what a fork allocates is in few pages, though its template's memory has holes everywhere", async () => {
  await deploy(
    "holes",
    `kept = [bytes(40) for _ in range(200_000)]  # 16 MB
del kept[::16]
def handler(event, context):
    global made
    made = [bytes(40) for _ in range(10_000)]
    return len(made)`,
    { keep_alive: "1s" },
  );
  // The first two forks may be made before the template has settled.
  for (let i = 0; i < 2; ++i) {
    assert.equal(await call("holes"), 10_000);
    await eventually("asleep", () => isAsleep("holes"));
  }
  await sleep(300);
  assert.equal(await call("holes"), 10_000);
  const { instance } = (await platform.json("show", "holes")).function;
  assert.ok(instance.own_bytes < 5 << 20, `${instance.own_bytes} bytes`);
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

test("a template survives while an early fork holds what it brings into huge pages", async () => {
  await deploy(
    "early",
    `import time
kept = bytearray(100 << 20)
def handler(event, context):
    time.sleep(event)
    return kept[5]`,
    { memory: "128MiB", keep_alive: "0ms" },
  );
  assert.equal(await call("early", 0.8), 0);
  const { template } = (await platform.json("show", "early")).function;
  assert.ok(template.huge_page_bytes > 90 << 20, JSON.stringify(template));
  assert.equal(await call("early", 0), 0);
  const { wakes } = (await platform.json("show", "early")).function;
  assert.deepEqual(wakes.map(({ rung, count }) => [rung === "template", count]), [[false, 1], [true, 1]]);
});

test("code that holds something open is not forked, and show says what", async () => {
  for (const [opens, why] of [
    ["socket.socketpair()[0]", /^no: .*holds a socket/],
    ['open("/tmp/log", "w")', /^no: .*holds \/tmp\/log open/],
    ['open("/code/app.py")', /^no: .*holds \/code\/app.py open/],
    ['open("/dev/urandom", "rb")', /^yes$/],
  ]) {
    const shown = await deploy("holder", `import socket
held = ${opens}
def handler(event, context):
    return held.fileno() > 0`);
    assert.match(shown.revision.notes.template, why);
    assert.equal(await call("holder"), true);
  }
});

test("an instance over its memory is ended, and told so; its siblings and template live on", async () => {
  await deploy(
    "glutton",
    `kept = bytearray(20 << 20)
def handler(event, context):
    return len(bytearray(b"x") * (event << 20))`,
    { memory: "96MiB", keep_alive: "5s" },
  );
  assert.equal(await call("glutton", 1), 1 << 20);
  const fat = await platform.invoke("glutton", "500", json);
  assert.equal(fat.status, 502);
  assert.match(fat.text, /OutOfMemory/);
  const next = await platform.invoke("glutton", "1", json);
  assert.equal(next.status, 200, next.text);
  assert.match(next.headers["server-timing"], /wake-code;dur=0.000/);
});

test("what an instance leaves behind goes with it", async () => {
  await deploy(
    "parent",
    `import os, time
def handler(event, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(3)
            time.sleep(3600)
        os._exit(0)
    return os.getpid()`,
    apart,
  );
  await call("parent");
  await eventually("asleep", () => isAsleep("parent"));
  await sleep(500); // What waits to be used next is there, too.
  const before = platform.inSandboxes().length;
  for (let i = 0; i < 5; ++i) await call("parent");
  await eventually(
    "no grandchild is left",
    async () => (await isAsleep("parent")) && platform.inSandboxes().length <= before,
  );
});

test("a template that is killed costs a slower next start, and nothing else", async () => {
  await deploy("victim", "import os\ndef handler(event, context):\n    return os.getpid()", apart);
  await call("victim");
  const templates = platform.inSandboxes().filter(isTemplate);
  assert.ok(templates.length > 0);
  for (const pid of templates) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch (failure) {
      if (failure.code !== "ESRCH") throw failure; // Another function's, which was on its way out.
    }
  }
  for (let i = 0; i < 3; ++i) assert.ok((await call("victim")) > 1);
});

test("one that is killed just as it is called, or as it loads, keeps nobody waiting", async () => {
  await deploy("prey", "import os\ndef handler(event, context):\n    return os.getpid()", { ...apart, timeout: "8s" });
  const { pid } = platform.process;
  for (let round = 0; round < (process.env.DORMOUSE_NIGHTLY ? 300 : 25); ++round) {
    for (const each of platform.inSandboxes().filter(isTemplate)) {
      try {
        process.kill(Number(each), "SIGKILL");
      } catch {} // It went by itself.
    }
    const { status, text } = await platform.invoke("prey", "null", { "content-type": "application/json" });
    // What was killed may have been the call's own instance, which is a fork on its way into its slot.
    assert.ok(status === 200 || /was killed|closed the socket|ended while/.test(text), `round ${round}: ${status} ${text}`);
    if (round % 3) await sleep(Math.random() * 200);
  }
  assert.equal(platform.process.pid, pid);
  assert.equal(platform.process.exitCode ?? platform.process.signalCode, null, "the daemon has ended");
});

// Or a blank one, that may become one: neither is in the control groups of a slot.
function isTemplate(pid) {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
    return line.startsWith("/usr/bin/python3") && groups.includes("/oci");
  } catch {
    return false;
  }
}

test("a template goes after its keep-alive, and the function is asleep", async () => {
  await deploy("brief", "def handler(event, context):\n    return 1", {
    keep_alive: "0ms",
    template_keep_alive: "300ms",
  });
  assert.equal(await call("brief"), 1);
  await eventually("nothing of it is left", async () => {
    const { memory_bytes } = await platform.status("brief");
    return (await isAsleep("brief")) && memory_bytes === 0;
  });
  assert.equal(await call("brief"), 1);
});

test("after kill -9 nothing is left of templates and forks, and functions answer", async () => {
  await deploy("survivor", "def handler(event, context):\n    return 2", { keep_alive: "1m" });
  assert.equal(await call("survivor"), 2);
  await platform.kill("SIGKILL");
  await platform.serve();
  assert.equal(await call("survivor"), 2);
});

// Of 3,000 functions each fifteenth is called: their code fills a few dozen pages, and lies in 200.
test("code that was rehearsed lies side by side, specialised, and does what it did", async () => {
  const shown = await deploy(
    "gathered",
    `import asyncio, dis, sys, weakref
exec("\\n".join(f"def f{k}(x): return x * {k + 1000} + len(str(x))" for k in range(3000)))
hot = [globals()[f"f{k}"] for k in range(0, 3000, 15)]
class Base:
    def name(self, end="!"): return "base" + end
class Derived(Base):
    def name(self, *, end="?"): return super().name(end) + "derived"
    @property
    def twice(self): return 2 * self.name()
    @staticmethod
    def seven(): return 7
def counter():
    count = 0
    def next_one(step=1):
        nonlocal count
        count += step
        return count
    return next_one
count = counter()  # A closure that is kept, with what it has counted.
def numbers(n): yield from (k * k for k in range(n))
async def later(x):
    await asyncio.sleep(0)
    return x + 1
def factorial(n): return n * factorial(n - 1) if n else 1
def registered(): return 1
registry = weakref.WeakKeyDictionary({registered.__code__: "kept"})
def is_specialised(f):
    as_written, as_run = ([each.opname for each in dis.get_instructions(f, adaptive=a)] for a in (False, True))
    return as_written != as_run
def fails():
    try: raise KeyError("k")
    except KeyError as error: return repr(error)
def everything():
    closure = counter()
    return [sum(f(3) for f in hot), Derived().name(), Derived().twice, Derived.seven(), closure(), closure(5),
            list(numbers(4)), asyncio.run(later(1)), factorial(10), fails(), (lambda a, b=2: a + b)(1), registered()]
def rehearse_template(): count(), everything()
def handler(event, context):
    pages = {id(f.__code__) // 4096 for f in hot}
    specialised = sum(map(is_specialised, hot))  # Before it is called here, which may do that.
    return {"all": everything(), "counted": count(), "pages": len(pages), "profile": sys.getprofile() is None,
            "specialised": specialised, "known": registry.get(registered.__code__), "copies": sys.version_info < (3, 13)}`,
  );
  assert.equal(shown.revision.notes.template, "yes");
  const { all, counted, pages, profile, specialised, known, copies } = await call("gathered");
  const sum = Array.from({ length: 200 }, (_, k) => 3 * (k * 15 + 1000) + 1).reduce((a, b) => a + b);
  const rest = ["base?derived", "base?derivedbase?derived", 7, 1, 6, [0, 1, 4, 9], 2, 3628800, "KeyError('k')", 3, 1];
  assert.deepEqual(all, [sum, ...rest]);
  assert.equal(counted, 23); // One alone, one that is looked at, 20 with the copies, and this one.
  assert.ok(profile);
  assert.equal(specialised, 200);
  assert.equal(known, "kept");
  assert.equal(pages < 60, copies, `${pages} pages`);

  const wrong = await platform.deploy(
    { name: "unrehearsed", runtime: "python", handler: "app.handler" },
    { "app.py": "def rehearse_template(): raise OSError('no table')\ndef handler(event, context): return 1" },
  );
  assert.match(wrong.stderr, /rehearse_template: OSError: no table/);
});

test("hooks are called in a function that is not forked, too, and one whose hooks fail is not deployed", async () => {
  await deploy(
    "hooked",
    `import threading, time
threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
import os
called = []
def before_template(): called.append("before_template")
async def after_fork(): called.append("after_fork, " + os.environ.get("OMP_NUM_THREADS", "with all threads"))
def handler(event, context): return called`,
  );
  assert.match((await platform.json("show", "hooked")).function.revision.notes.template, /^no: .*thread/);
  assert.deepEqual(await platform.callJson("hooked"), ["before_template", "after_fork, with all threads"]);
  for (const hook of ["before_template", "after_fork"]) {
    const code = `def ${hook}(): raise OSError("no database")\ndef handler(event, context): return 1`;
    const done = await platform.deploy(
      { name: "unhooked", runtime: "python", handler: "app.handler" }, { "app.py": code });
    assert.equal(done.code, 1);
    assert.match(done.stderr, new RegExp(`${hook}: OSError: no database`));
  }
});
