// What two functions, and two forks of one template, can do to each other, and what an instance leaves to
// the next one. Each misdeed is also done where it works. S4, S11, S15, S16.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, program, roots, sleep } from "./platform.mjs";

let platform;
before(async () => {
  platform = await Platform.start();
  // The same but for the name: what is equal, byte by byte, is the file `same` alone.
  for (const name of ["a", "b", "twins"]) {
    const more = { memory: "128MiB", timeout: "20s" };
    await deploy(name, `# ${name}\n${neighbour}`, more, { same: "the same in all" });
  }
});
after(() => platform.stop());

const json = { "content-type": "application/json" };
const invoke = (name, event) => platform.invoke(name, JSON.stringify(event), json);
const call = (name, event) => platform.callJson(name, event);

// A fork of its own for every call, unless that comes right after another one.
const apart = { keep_alive: "0ms", max_instances: 4 };

async function deploy(name, code, more = {}, files = {}) {
  const manifest = { name, runtime: "python", handler: "app.handler", memory: "96MiB", ...apart, ...more };
  const done = await platform.deploy(manifest, { "app.py": code, ...files });
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", name)).function.revision;
  assert.equal(notes.template, "yes");
}

function readOf(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // It ended meanwhile.
  }
}

// The host's number of the fork that has this name.
const find = (name) => platform.forks().find((pid) => readOf(pid, "comm") === `${name}\n`);

// Has a fork sit, which calls itself sitter as soon as it does, until `work` is done and it gets a SIGUSR1.
async function whileSitting(name, event, work) {
  const sits = call(name, event);
  const sitter = await eventually("a sitter", () => find("sitter"));
  let worked, sat;
  try {
    worked = await work(sitter);
  } finally {
    process.kill(sitter, "SIGUSR1");
    sat = await sits;
    await eventually("who had a name is gone", () => !find("sitter") && !find("attacker"));
  }
  return [worked, sat];
}

// On the host: real, effective, saved and of files.
const uidsOf = (pid) => [...new Set(/^Uid:\t(.*)$/m.exec(readOf(pid, "status"))[1].split("\t"))];

// One sits, with things of its own in places that the other one knows, and says what was done to it.
const neighbour = `import ctypes, errno, fcntl, mmap, os, resource, signal, socket, subprocess, threading, time
from multiprocessing import shared_memory
libc = ctypes.CDLL(None, use_errno=True)
folders = ("/tmp", "/dev/shm")
library = os.path.dirname(os.__file__) + "/colorsys.py"  # The host's.
files = {"app": "/code/app.py", "same": "/code/same", "library": library}
places = ("\\0apart", ("127.0.0.1", 8000))

def told(act, *args):
    try: return act(*args)
    except OSError as e: return errno.errorcode[e.errno]

def c(name, *args):
    if getattr(libc, name)(*args) == -1: raise OSError(ctypes.get_errno(), name)

def names(): return {folder: sorted(os.listdir(folder)) for folder in folders}
def a_socket(place): return socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
def connect(place): return told(a_socket(place).connect, place)
def listen(place):
    listener = a_socket(place)
    listener.bind(place)
    listener.listen()
    listener.setblocking(False)
    return listener
def lock(file): return told(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
def share(): return shared_memory.SharedMemory("apart", create=True, size=4096)
def use():
    for folder in folders: open(folder + "/mine", "w").write("mine")
    for file in files.values(): open(file).read()

class Futex:
    def __init__(self, folder):
        with open(folder + "/futex", "w+b") as file:
            file.truncate(4096)
            self.memory = mmap.mmap(file.fileno(), 4096)
        self.at = ctypes.c_void_p(ctypes.addressof(ctypes.c_int.from_buffer(self.memory)))
    def wait(self):
        time_max = (ctypes.c_long * 2)(20, 0)
        threading.Thread(target=libc.syscall, args=(202, self.at, 0, 0, time_max), daemon=True).start()
    def wake(self): return libc.syscall(202, self.at, 1, 100)
    def wake_own(self):  # Its thread may be on the way to it.
        for _ in range(2000):
            if self.wake(): return 1
            time.sleep(0.001)
        return 0

def sit():
    asked = {signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, asked | {signal.SIGTERM, signal.SIGCONT})
    shared, listeners = share(), [listen(place) for place in places]
    held = [open(file) for file in files.values()]
    locked = [lock(file) for file in held]
    futexes = [Futex(folder) for folder in folders]
    for futex in futexes: futex.wait()
    use()
    libc.prctl(15, b"sitter")
    while not signal.sigtimedwait(asked, 0.02): use()
    out = {"signals": sorted(map(int, signal.sigpending())), "locked": locked, "shared": shared.buf[0],
           "names": names(), "reached": [told(listener.accept) != "EAGAIN" for listener in listeners],
           "waited": [futex.wake_own() for futex in futexes],  # Nobody has woken them before.
           "nice": os.nice(0), "cpus": len(os.sched_getaffinity(0)) == os.cpu_count()}
    shared.unlink()
    return out

buffer = ctypes.create_string_buffer(8)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
acts = {f"open {name}": lambda pid, name=name: os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
        for name in ("mem", "environ", "maps", "root/tmp", "cwd/app.py", "fd/0", "exe")}
acts |= {
    "ptrace": lambda pid: c("ptrace", 16, pid, 0, 0), "seize": lambda pid: c("ptrace", 0x4206, pid, 0, 0),
    "readv": lambda pid: c("process_vm_readv", pid, vector, 1, vector, 1, 0),
    "affinity": lambda pid: os.sched_setaffinity(pid, {0}),
    "nice": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
    "limit": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64)) and None,
    "pidfd": lambda pid: signal.pidfd_send_signal(os.pidfd_open(pid), 0),
    "kill": lambda pid: os.kill(pid, signal.SIGKILL)}

def comm(pid): return told(lambda: open(f"/proc/{pid}/comm").read().strip())
def visible(): return {int(pid) for pid in os.listdir("/proc") if pid.isdigit()} - {os.getpid()}

def start_child():
    child = subprocess.Popen(["/bin/sleep", "60"])
    while comm(child.pid) != "sleep": pass  # Only then may it be looked into.
    return child

def attack(pids):
    libc.prctl(15, b"attacker")
    out = {"names": names(), "connect": [connect(place) for place in places],
           "shared": told(shared_memory.SharedMemory, "apart"),
           "sees": [comm(pid) for pid in visible()].count("sitter")}
    others = visible() | set(pids)
    out["others"] = {name: sorted({str(told(act, pid)) for pid in others}) for name, act in acts.items()}
    out["any"] = sorted({str(told(os.kill, pid, signal.SIGKILL)) for pid in set(range(1, 33000)) - {os.getpid()}})
    child = start_child()
    out["own"] = {name: told(act, child.pid) for name, act in acts.items()}
    child.wait()
    child = start_child()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for group in (-1, 0): told(os.kill, group, signal.SIGTERM)
    out["child"] = child.wait()
    told(os.setpriority, os.PRIO_PGRP, 0, 5)
    out["ipc"] = [told(c, "shmget", 7, 4096, 0o1666), told(c, "semget", 7, 1, 0o1666), told(c, "msgget", 7, 0o1666),
                  told(c, "mq_open", b"/apart", 0o102, 0o666, None)]
    out["watch"] = told(c, "inotify_init1", 0)
    out["locks"] = {name: lock(open(file)) for name, file in files.items()}
    futexes = [Futex(folder) for folder in folders]
    out["wakes"] = [futex.wake() for futex in futexes]
    # From here on what it does to itself.
    for futex in futexes: futex.wait()
    out["own wakes"] = [futex.wake_own() for futex in futexes]
    listeners = [told(listen, place) for place in places]
    out["bind"] = [each if isinstance(each, str) else None for each in listeners]
    out["own connect"] = [connect(place) for place in places]
    shared = share()
    shared.buf[0] = 7
    use()
    shared.unlink()
    return out

no_signal = (ctypes.c_int * 16)(0, 0, 0, 1)
def make_timer(): c("timer_create", 1, no_signal, ctypes.byref(ctypes.c_void_p()))

def take_timers():
    taken = 0
    while told(make_timer) is None: taken += 1
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    libc.prctl(15, b"sitter")
    signal.sigwait({signal.SIGUSR1})
    return taken

def handler(event, context):
    do = event["do"]
    if do == "sit": return sit()
    if do == "take timers": return take_timers()
    if do == "timer": return told(make_timer)
    if do == "continue": return sorted({str(told(os.kill, pid, signal.SIGCONT)) for pid in visible()})
    return attack(event["pids"])
`;

// `victim` sits while `attacker` does what it can. What both say of it.
const sideBySide = (victim, attacker, event = { do: "attack" }, look = () => {}) =>
  whileSitting(victim, { do: "sit" }, async (sitter) => {
    const pids = [...platform.inSandboxes(), platform.daemonPid()].map(Number);
    const attacks = call(attacker, { ...event, pids });
    await look(sitter);
    return attacks;
  });

const none = { "/tmp": [], "/dev/shm": [] };
const refusals = new Set(["EPERM", "EACCES", "ESRCH", "ENOENT"]);

for (const [what, victim, attacker] of [
  ["two functions", "b", "a"],
  ["two forks of one template", "twins", "twins"],
]) {
  test(`S15: ${what} do not reach each other, with what each of them can do to itself`, async () => {
    const [tried, sat] = await sideBySide(victim, attacker, { do: "attack" }, async (sitter) => {
      const uids = [sitter, await eventually("the attacker", () => find("attacker"))].map(uidsOf);
      assert.ok(uids.every((each) => each.length === 1 && each[0] !== "0"), `uids ${uids}`);
      assert.notDeepEqual(uids[0], uids[1]);
      // But for the OCI runtime, where a sandbox is just being made.
      const isRoot = (pid) => /^Uid:.*\t0\b/m.test(readOf(pid, "status"));
      await eventually("nobody is root", () => !platform.inSandboxes().some(isRoot));
    });
    const areTwins = victim === attacker;
    // Processes. What seccomp refuses is refused for its own child, too.
    assert.equal(tried.sees, areTwins ? 1 : 0, "sitters in /proc"); // template.md: forks see each other there.
    for (const [act, came] of Object.entries({ ...tried.others, any: tried.any })) {
      assert.ok(came.length > 0 && came.every((each) => refusals.has(each)), `${act}: ${came}`);
    }
    for (const [act, came] of Object.entries(tried.own)) {
      assert.equal(came, ["ptrace", "seize", "readv"].includes(act) ? "EPERM" : null, `${act} of its own child`);
    }
    assert.equal(tried.child, -15, "the signal to all did not reach its own child");
    assert.deepEqual(sat.signals, []);
    assert.deepEqual([sat.nice, sat.cpus], [0, true], "its priority or its CPUs have changed");
    // Files, memory and what waits for it, by the same names.
    assert.deepEqual(tried.names, none);
    assert.deepEqual(sat.names, { "/tmp": ["futex", "mine"], "/dev/shm": ["apart", "futex", "mine"] });
    assert.equal(tried.shared, "ENOENT");
    assert.equal(sat.shared, 0);
    assert.deepEqual(tried.ipc, ["EPERM", "EPERM", "EPERM", "EPERM"]);
    assert.deepEqual([tried.wakes, tried["own wakes"], sat.waited], [[0, 0], [1, 1], [1, 1]], "futexes");
    assert.equal(tried.watch, "EPERM", "inotify, which sees what others do with files that both have");
    // The code of forks is one, and so are their locks on it. What is equal in two functions is one
    // file, as is what is the host's: on these there is but one lock (isolation.md).
    assert.deepEqual(sat.locked, [null, null, null]);
    const { app, same, library } = tried.locks;
    assert.deepEqual([app, same, library], [areTwins ? "EAGAIN" : null, "EAGAIN", "EAGAIN"], "flock");
    // Abstract and loopback's names. Forks share a network namespace (template.md): there, they meet.
    const met = areTwins ? null : "ECONNREFUSED";
    assert.deepEqual(tried.connect, [met, met], "it has reached the other's sockets");
    assert.deepEqual(sat.reached, [areTwins, areTwins]);
    const taken = areTwins ? "EADDRINUSE" : null;
    assert.deepEqual([tried.bind, tried["own connect"]], [[taken, taken], [null, null]]);
  });
}

// The kernel counts what is pending, of which a timer is one, also for who made the user namespace: the
// host's root, with one limit for all sandboxes and for root itself.
test("S15: a function that takes all timers that it gets leaves others theirs", async () => {
  const [left, taken] = await whileSitting("a", { do: "take timers" }, () => call("b", { do: "timer" }));
  assert.equal(left, null, `after ${taken} of the one, the other has ${left} at its first`);
  assert.ok(taken > 100 && taken <= 256, `${taken} timers`);
});

// In one session anyone may send this one signal to anyone.
test("S15: a fork cannot let another one go on that was stopped", async () => {
  const [tried, sat] = await sideBySide("twins", "twins", { do: "continue" });
  assert.deepEqual([sat.signals, tried], [[], ["EPERM"]]);
});

// Either leaves all kinds of things, or says which of them it finds.
const heir = `import ctypes, os, signal, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
paths = ("\\0left", "/tmp/left.sock")
kept = []

def leave():
    for file in ("/tmp/left", "/dev/shm/left", "/tmp/left.so"): open(file, "w").write("left")
    os.environ.update(LEFT="left", LD_PRELOAD="/tmp/left.so")
    child = os.fork()
    if child == 0:
        os.setsid()
        libc.prctl(15, b"left")
        if os.fork() == 0:
            os.closerange(0, 64)
            time.sleep(3600)
        os._exit(0)
    os.waitpid(child, 0)
    threading.Thread(target=time.sleep, args=(3600,), name="left", daemon=True).start()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 3600)
    timer = ctypes.c_void_p()
    libc.timer_create(1, (ctypes.c_int * 16)(0, 0, 0, 1), ctypes.byref(timer))
    libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 3600, 0), None)
    for path in paths:
        kept.append(socket.socket(socket.AF_UNIX))
        kept[-1].bind(path)
        kept[-1].listen()
    os.chdir("/tmp")
    os.umask(0o777)

def reaches(path):
    with socket.socket(socket.AF_UNIX) as client: return client.connect_ex(path) == 0

def look():
    signs = {"descriptors": len(os.listdir("/proc/self/fd")) > 5, "memory": bool(kept), "cwd": os.getcwd() != "/code",
             "umask": os.umask(0o22) == 0o777, "variable": "LEFT" in os.environ, "preload": "LD_PRELOAD" in os.environ,
             "threads": threading.active_count() + len(os.listdir("/proc/self/task")) > 2,
             "itimer": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
             "action": signal.getsignal(signal.SIGALRM) != signal.SIG_DFL,
             "timer": libc.timer_gettime(ctypes.c_void_p(0), (ctypes.c_long * 4)()) == 0}
    signs |= {f"{folder}/{name}": True for folder in ("/tmp", "/dev/shm") for name in os.listdir(folder)}
    signs |= {"connect " + path.strip("\\0"): reaches(path) for path in paths}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: signs["process"] = signs.get("process") or open(f"/proc/{pid}/comm").read() == "left\\n"
        except OSError: pass  # It ended meanwhile.
    return sorted(name for name, found in signs.items() if found)

def handler(event, context):
    return leave() if event == "leave" else look()
`;

test("S16: an instance finds what it has left itself, and no other one does", async () => {
  await deploy("heir", heir, { keep_alive: "10s", max_instances: 1 });
  await deploy("stranger", heir);
  assert.deepEqual(await call("heir", "look"), []);
  await call("heir", "leave");
  assert.deepEqual(await call("heir", "look"), [
    "/dev/shm/left", "/tmp/left", "/tmp/left.so", "/tmp/left.sock", "action", "connect /tmp/left.sock", "connect left",
    "cwd", "descriptors", "itimer", "memory", "preload", "process", "threads", "timer", "umask", "variable",
  ]);
  // While that instance is still there.
  assert.deepEqual(await call("stranger", "look"), [], "another function");
  await deploy("heir", `${heir}# Another revision.`);
  for (let round = 0; round < 10; ++round) {
    assert.deepEqual(await call("heir", "look"), [], round === 0 ? "another revision" : `round ${round}`);
    await call("heir", "leave");
    await eventually("it is gone", async () => {
      const { instances } = await platform.status("heir");
      return Object.values(instances).every((count) => count === 0);
    });
  }
  assert.deepEqual(await call("stranger", "look"), [], "another function");
});

test("S16: with `reuse: clean` nobody finds anything, not the calls that waited either", async () => {
  await deploy("clean", heir, { keep_alive: "10s", max_instances: 1, reuse: "clean" });
  for (let round = 0; round < 10; ++round) {
    const asked = ["leave", "look", "look"].map((what) => call("clean", what)); // They come one after another.
    const [, ...looks] = await Promise.all(asked);
    assert.deepEqual(looks, [[], []], `round ${round}`);
  }
});

const writer = `import errno, os, shutil, subprocess
ways = (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_TRUNC)

# What came of opening it for writing; all the ways are tried only while none works.
def attempts(path):
    came = set()
    for how in ways:
        if "OPENED" in came: break
        try:
            os.close(os.open(path, how))
            came.add("OPENED")
        except OSError as e: came.add(errno.errorcode[e.errno])
    return came

def held(path, how):
    try: return [os.open(path, how)]
    except OSError: return []

def link_of(path):
    try: return os.readlink(path)
    except OSError as e: return errno.errorcode[e.errno]

def handler(program, context):
    exes = [f"/proc/{pid}/exe" for pid in ["self", "thread-self", *filter(str.isdigit, os.listdir("/proc"))]]
    out = {"cwd": os.getcwd(), "program": os.path.exists(program), "links": [link_of(exe) for exe in exes]}
    opened = [number for exe in exes for how in (os.O_RDONLY, os.O_PATH) for number in held(exe, how)]
    paths = [*exes, *(f"/proc/self/fd/{number}" for number in opened)]
    out["opened"] = len(opened)
    out["came"] = sorted(set().union(*map(attempts, paths)))
    # The same with a program of its own, while it runs and afterwards.
    shutil.copy("/bin/sleep", "/tmp/own")
    child = subprocess.Popen(["/tmp/own", "60"])
    number = os.open(f"/proc/{child.pid}/exe", os.O_RDONLY)
    out["running"] = sorted(attempts(f"/proc/{child.pid}/exe"))
    child.kill()
    child.wait()
    out["ended"] = sorted(attempts(f"/proc/self/fd/{number}"))
    return out
`;

test("S11: no program that a fork sees can be written to, and the daemon's is not seen", async () => {
  const programs = [program, realpathSync("/usr/bin/python3"), path.join(roots, "host/opt/dormouse/init")];
  const hashes = () => programs.map((file) => createHash("sha256").update(readFileSync(file)).digest("hex"));
  const before = hashes();
  await deploy("writer", writer);
  const said = await call("writer", program);
  assert.equal(said.cwd, "/code");
  assert.equal(said.program, false, `${program} is there`);
  assert.ok(said.links.length > 3 && said.links[0].includes("python"), `${said.links}`);
  for (const link of said.links) assert.notEqual(path.basename(link), "dormouse", link);
  assert.ok(said.opened > 0, "none could be opened to be read");
  for (const each of said.came) assert.ok(["EACCES", "EROFS", "ETXTBSY"].includes(each), `${said.came}`);
  assert.deepEqual([said.running, said.ended], [["ETXTBSY"], ["OPENED"]], "its own program");
  assert.deepEqual(hashes(), before, "a program on the host has changed");
});

const bomb = `import ctypes, errno, fcntl, mmap, os, resource, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
kept = bytearray(b"k") * (20 << 20)
piece = b"x" * (1 << 20)
hold = []

def lock():
    hold.append(mmap.mmap(-1, len(piece)))
    at = ctypes.addressof(ctypes.c_char.from_buffer(hold[-1]))
    if libc.mlock(ctypes.c_void_p(at), ctypes.c_size_t(len(piece))) != 0: raise OSError(ctypes.get_errno(), "mlock")
    return len(piece)

def touch():
    hold.append(bytearray(piece))
    return len(piece)

def fill_pipe():
    end = os.pipe()[1]
    os.set_blocking(end, False)
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, len(piece))
    return os.write(end, piece)

def fill_sockets():
    hold.append(socket.socketpair())
    end = hold[-1][0]
    end.setblocking(False)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    sent = 0
    try:
        while True: sent += end.send(piece[:65536])
    except BlockingIOError: return sent

def into(open_it):
    number = open_it()
    return lambda: os.write(number, piece)

def start(kind):
    if kind == "mlock":
        try: resource.setrlimit(resource.RLIMIT_MEMLOCK, (-1, -1))
        except ValueError: pass  # It may not, and then has what it has.
    return {"touch": lambda: touch, "mlock": lambda: lock, "pipes": lambda: fill_pipe, "sockets": lambda: fill_sockets,
            "memfd": lambda: into(lambda: os.memfd_create("bomb")),
            "tmp": lambda: into(lambda: os.open("/tmp/bomb", os.O_CREAT | os.O_WRONLY)),
            "shm": lambda: into(lambda: os.open("/dev/shm/bomb", os.O_CREAT | os.O_WRONLY))}[kind]()

def handler(kind, context):
    if kind == "nothing": return kept[-1]
    if kind == "sit":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        libc.prctl(15, b"sitter")
        signal.sigwait({signal.SIGUSR1})
        return kept[-1]
    used = 0
    try:
        more = start(kind)
        while used < 400 << 20: used += more()
    except OSError as e: return errno.errorcode[e.errno]
    return f"{used} bytes"
`;

const bombs = [
  ["touch", /OutOfMemory/],
  ["mlock", /OutOfMemory|^"(ENOMEM|EPERM|EAGAIN)"$/],
  ["memfd", /OutOfMemory/],
  ["tmp", /OutOfMemory|^"ENOSPC"$/],
  ["shm", /^"ENOSPC"$/],
  ["pipes", /OutOfMemory|^"(EPERM|EMFILE)"$/],
  ["sockets", /OutOfMemory|^"EMFILE"$/],
];

test("S4: a fork that takes memory in any way ends alone, or at a limit; sibling and template live on", async () => {
  await deploy("bomb", bomb);
  const daemon = platform.daemonPid();
  const before = platform.memoryOfDaemon();
  const [, sat] = await whileSitting("bomb", "sit", async () => {
    for (const [kind, came] of bombs) {
      const { status, text } = await invoke("bomb", kind);
      assert.match(text, came, `${kind}: ${status}`);
      assert.equal(status, text.includes("OutOfMemory") ? 502 : 200, `${kind}: ${text}`);
      const next = await invoke("bomb", "nothing");
      assert.equal(next.text, "107", `after ${kind}: ${next.status}`);
      // Who met a limit lives on, and may have answered that, too.
      const timing = next.headers["server-timing"];
      if (status === 502) assert.match(timing, /wake-code;dur=0\.000/, `after ${kind}`);
      assert.doesNotMatch(timing, /wake-code;dur=(?!0\.000)/, `after ${kind} its template was loaded anew`);
      const grown = platform.memoryOfDaemon() - before;
      assert.ok(grown <= 16 << 20, `${kind}: the daemon has grown by ${grown} bytes`);
    }
  });
  assert.equal(sat, 107);
  assert.equal(platform.daemonPid(), daemon);
});

// cgroup v1 does not count these as memory, and has a limit of their own for them.
for (const kind of ["SOCK_STREAM", "SOCK_DGRAM"]) {
  test(`S4: what waits in sockets on loopback counts as a function's memory: ${kind}`, async () => {
    const name = kind.toLowerCase().replace("_", "-");
    const code = `import socket
piece = b"x" * (1 << 15)
def pair(kind):
    here, there = socket.socket(type=kind), socket.socket(type=kind)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    there.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM: there.listen()
    here.connect(there.getsockname())
    if kind == socket.SOCK_STREAM: there = there.accept()[0]
    for each in (here, there): each.setblocking(False)
    return here, there
def handler(event, context):
    pairs = [pair(socket.${kind}) for _ in range(100)]
    held = 0
    for here, _ in pairs:
        try:
            for _ in range(128): here.send(piece)
        except BlockingIOError: pass
    for _, there in pairs:
        try:
            while True: held += len(there.recv(1 << 16))
        except BlockingIOError: pass
    return held >> 20`;
    await deploy(name, code);
    const { status, text } = await invoke(name, null);
    assert.ok(status === 502 ? /OutOfMemory/.test(text) : Number(text) < 96, `${text} MiB at once, of 96 MiB`);
  });
}
