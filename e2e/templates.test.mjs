// Templates of functions in Python, and their forks: what is not forked and why, whose memory is whose,
// and what happens when one of them goes.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expectAsMeasured, median } from "./billed.mjs";
import { eventually, sleep } from "./platform.mjs";
import { apart, deployPython, startPlatform } from "./pythons.mjs";

let platform;
before(async () => (platform = await startPlatform()));
after(() => platform.stop());

const json = { "content-type": "application/json" };

const deploy = (...what) => deployPython(platform, ...what);
const call = (name, event) => platform.callJson(name, event);

const isAsleep = async (name) => {
  const { instances } = await platform.status(name);
  return Object.values(instances).every((count) => count === 0);
};

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

test("code that leaves a process running at import is not forked: it would go on beside all, on no receipt", async () => {
  const code = `import subprocess
helper = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
def handler(event, context):
    return helper.poll()`;
  const { revision } = await deploy("helped", code);
  assert.equal(revision.notes.template,
    "no: its fork: it left a process running, which all others would share: sleep; start it in after_fork, or in the handler");
  assert.equal(await call("helped"), null);
  const done = code.replace("helper = subprocess.Popen(", "subprocess.run(").replace('"1000"', '"0"').replace("helper.poll()", "1");
  assert.equal((await deploy("was-helped", done)).revision.notes.template, "yes");
});

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

// L3, also of those for whom a fork was made as they came.
test("what a fork takes to be ready is its waking, and not billed as its run", async () => {
  const code = `import time
def after_fork():
    time.sleep(0.4)
def handler(event, context):
    began = time.monotonic()
    time.sleep(0.03)
    return time.monotonic() - began`;
  await deploy("slow-fork", code, { max_instances: 8, keep_alive: "0ms" });
  await call("slow-fork");
  await eventually("asleep", () => isAsleep("slow-fork"));
  const answers = await Promise.all(
    Array.from({ length: 6 }, () => platform.invoke("slow-fork", "null", json)));
  let waited = 0;
  for (const { status, text, headers } of answers) {
    assert.equal(status, 200, text);
    const receipt = await platform.receiptOf(headers["dormouse-invocation"]);
    assert.ok(receipt.run_ms >= Number(text) * 1000 - 0.01, `${receipt.run_ms} ms for ${text} s`);
    assert.ok(receipt.run_ms < 200, `${receipt.run_ms} ms for ${text} s`);
    waited += receipt.wake.load_ms >= 350;
  }
  assert.ok(waited >= 3, `${waited} waited`);
});

test("L3: what is billed of a fork is what its code measured, rounded up", async () => {
  const code = `import time
def handler(ms, context):
    began = time.monotonic()
    time.sleep(ms / 1000)
    return (time.monotonic() - began) * 1000`;
  const shown = await deploy("timed", code);
  assert.equal(shown.revision.notes.template, "yes");
  const call = async (ms) => {
    const { status, text, headers } = await platform.invoke("timed", `${ms}`, json);
    assert.equal(status, 200, text);
    return { measured: Number(text), headers };
  };
  const differences = [];
  for (let ms = 0; ms < 50; ++ms) differences.push(await expectAsMeasured(call, ms));
  assert.ok(median(differences) <= 1, `they differ by ${median(differences)} ms`);
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

// K5. Where things lie in memory is drawn at random when a program starts, and a fork has it from its template.
test("a template whose forks crash is made anew, elsewhere in memory, and no call but theirs fails", async () => {
  const code = `import ctypes
libc = ctypes.CDLL(None)
kept = bytes(64)
def handler(event, context):
    if event == "crash": ctypes.string_at(0)
    return [id(kept), ctypes.cast(libc.getpid, ctypes.c_void_p).value]`;
  await deploy("crashes", code, apart);
  const first = await call("crashes");
  assert.deepEqual(await call("crashes"), first);
  for (let i = 0; i < 5; ++i) {
    const { status, text } = await platform.invoke("crashes", '"crash"', json);
    assert.deepEqual([status, /signal 11/.test(text)], [502, true], text);
  }
  const later = await eventually("another template", async () => {
    const now = await call("crashes");
    return now[1] !== first[1] && now;
  });
  assert.notEqual(later[0], first[0]);
});

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
