// Groups O, Z, S and D for functions that are forked from a template: what one of them does to itself,
// or has done to it, costs its own calls and nothing else.
import { test, describe, before, after } from "node:test";
import assert from "node:assert/strict";
import { chmodSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { killEverySecond, openLoop, triesWithin } from "./load.mjs";
import { Platform, eventually, sleep } from "./platform.mjs";

const run = promisify(execFile);
const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);

let platform;
before(async () => (platform = await Platform.start()));
after(async () => {
  assert.deepEqual(await platform.kill("SIGTERM"), { code: 0, signal: null });
  const verdict = await platform.oracle([], { seen: false }); // These functions log no attempts.
  assert.ok(verdict.holds, verdict.said);
  assert.deepEqual(platform.leftovers(), []);
  platform.remove();
});

const json = { "content-type": "application/json" };
const invoke = (name, event) => platform.invoke(name, JSON.stringify(event), json);
const errorOf = ({ text }) => JSON.parse(text).error;

async function deploy(name, code, more = {}) {
  const manifest = { name, runtime: "python", handler: "app.handler", memory: "96MiB", ...more };
  const done = await platform.deploy(manifest, { "app.py": code });
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", name)).function.revision;
  assert.equal(notes.template, "yes");
}

const deafInPython = `import os, signal
def handler(how, context):
    if how == "stop": os.kill(os.getpid(), signal.SIGSTOP)
    if how == "ignore-term": signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while how != "well": pass
    return how`;

const deafInShell = `#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  id=$(curl -sS -D - -o /tmp/event "$api/next" | tr -d '\\r' |
    awk 'tolower($1) == "lambda-runtime-aws-request-id:" { print $2 }')
  case $(cat /tmp/event) in
    *stop*) kill -STOP $$ ;;
    *ignore-term*) trap '' TERM; while :; do :; done ;;
    *spin*) while :; do :; done ;;
  esac
  curl -sS -o /dev/null --data-binary @/tmp/event "$api/$id/response"
done
`;

// In waves, two of each kind at once.
async function outlive(name, timeout, waves) {
  const kinds = ["spin", "stop", "ignore-term", "spin", "stop", "ignore-term"];
  for (let wave = 0; wave < waves; ++wave) {
    const began = performance.now();
    const answers = await Promise.all(kinds.map((how) => invoke(name, how)));
    for (const { status, text } of answers) assert.equal(status, 504, text);
    await eventually("they are gone", () => platform.isIdle(name));
    const took = performance.now() - began;
    assert.ok(took <= timeout + 1000, `wave ${wave}: gone after ${took.toFixed(0)} ms`);
  }
  assert.equal(JSON.parse((await invoke(name, "well")).text), "well");
}

test("O7: forks that spin, stop themselves or will not listen are gone soon after their timeout", async () => {
  const timeout = 400;
  await deploy("deaf", deafInPython, { timeout: `${timeout}ms`, max_instances: 6 });
  await outlive("deaf", timeout, nightly ? 50 : 10);
});

test("O7: and so are programs that were not forked", async () => {
  const timeout = 600;
  const manifest = { name: "deaf-sh", runtime: "executable", timeout: `${timeout}ms`, max_instances: 6 };
  const done = await platform.deploy(manifest, { bootstrap: deafInShell });
  assert.equal(done.code, 0, done.stderr);
  await outlive("deaf-sh", timeout, nightly ? 20 : 3);
});

test("Z1: calls within 5 ms of the idle deadline are all answered", async () => {
  const keepAlive = 100;
  const burst = 20;
  const names = Array.from({ length: 4 }, (_, i) => `z1-${i}`);
  const rounds = (nightly ? 20_000 : 1200) / burst / names.length;
  for (const name of names) {
    await deploy(name, "def handler(event, context): return event", { keep_alive: `${keepAlive}ms` });
  }
  const one = async (name) => {
    for (let round = 0; round < rounds; ++round) {
      const answers = await Promise.all(Array.from({ length: burst }, (_, i) => invoke(name, i)));
      for (const [i, { status, text }] of answers.entries()) assert.deepEqual([status, text], [200, `${i}`]);
      await sleep(keepAlive - 5 + Math.random() * 10);
    }
  };
  await Promise.all(names.map(one));
});

const sleepy = `import os, time
def handler(ms, context):
    time.sleep(ms / 1000)
    return os.getpid()`;

test("Z2: from zero to 700 calls a second, none fails", async () => {
  const most = 16;
  await deploy("z2", sleepy, { keep_alive: "5s", max_instances: most });
  const answers = await openLoop(700, nightly ? 30 : 8, () => invoke("z2", 2));
  assert.deepEqual(answers.filter(({ status }) => status !== 200), []);
  const { instances } = await platform.status("z2");
  assert.ok(instances.busy + instances.dozing <= most, JSON.stringify(instances));
});

// Fails while there is a file of this name, and leaves a mark in it.
const failing = (name, how, where) => `import os
def fail_if_asked():
    if os.path.exists("/attempts/${name}"):
        with open("/attempts/${name}", "a") as marks: marks.write("x\\n")
        ${how}
${where}
def handler(event, context): return event`;

// Calls it for `ms`, ten at once, while it fails. Gives the answers, and how often it was started.
async function failFor(ms, name, code, more) {
  const flag = path.join(path.dirname(platform.attempts), name);
  await deploy(name, code, { runtime: "windowed", keep_alive: "0ms", max_instances: 2, ...more });
  writeFileSync(flag, "");
  chmodSync(flag, 0o666);
  const answers = [];
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) {
    answers.push(...(await Promise.all(Array.from({ length: 10 }, () => invoke(name, 1)))));
    assert.equal((await platform.status(name)).queued, 0);
  }
  const starts = readFileSync(flag, "utf8").split("\n").length - 1;
  rmSync(flag);
  await eventually("it starts again", async () => (await invoke(name, 7)).text === "7");
  return { answers, starts };
}

function assertTold(answer, why) {
  assert.ok(answer.status === 502 || answer.status === 503, `${answer.status} ${answer.text}`);
  assert.match(errorOf(answer).message, why);
  assert.equal(errorOf(answer).blame, "function");
}

// Most of it is waiting, so they wait together.
describe("starts that fail or take long", { concurrency: true }, () => {
  for (const [name, how, why] of [
    ["raises", 'raise RuntimeError("no weights")', /importing app.handler: RuntimeError: no weights/],
    ["crashes", "os.abort()", /ended while starting.*SIGABRT/],
  ]) {
    test(`Z3: when the import ${name}, all who wait are told, and starts keep their distance`, async () => {
      const code = failing(name, how, "fail_if_asked()");
      const began = Date.now();
      const { answers, starts } = await failFor(2500, name, code, { template_keep_alive: "0s" });
      answers.forEach((answer) => assertTold(answer, why));
      assert.ok(answers.length > 100, `${answers.length} calls`);
      const most = triesWithin(Date.now() - began);
      assert.ok(starts >= 1 && starts <= most, `${starts} starts, at most ${most} are due`);
    });
  }

  test("Z3: when after_fork raises, its calls are told, and forks keep their distance", async () => {
    const code = failing("after", 'raise RuntimeError("no table")', "def after_fork(): fail_if_asked()");
    const began = Date.now();
    const { answers, starts } = await failFor(2500, "after", code, { template_keep_alive: "10m" });
    // The first ones may have met forks that waited since before. A fork is given its call before it
    // has said that it is ready, until one has failed: of those calls it may be all that is known.
    const failed = answers.filter(({ status }) => status !== 200);
    assert.ok(failed.length >= answers.length - 10, `${failed.length} of ${answers.length} failed`);
    failed.forEach((answer) => assertTold(answer, /after_fork: RuntimeError: no table|may have run/));
    const unsure = failed.filter((answer) => /may have run/.test(errorOf(answer).message));
    assert.ok(unsure.length <= 4, `${unsure.length} calls may have run`);
    // Beside the starts: a fork for each call that met it unprepared, and those made beforehand.
    const most = triesWithin(Date.now() - began) + 4;
    assert.ok(starts >= 1 && starts <= most, `${starts} forks, at most ${most} are due`);
  });

  test("Z4: a slow start within its limit is waited for, one beyond it is given up with a reason", async () => {
    const slow = `import os, time
time.sleep(float(os.environ["SECONDS"]))
def handler(event, context): return event`;
    const sleeps = { keep_alive: "0ms", template_keep_alive: "0s" };
    await deploy("z4", slow, { ...sleeps, env: { SECONDS: "1.5" }, start_timeout: "20s" });
    await platform.asleep("z4");
    const answers = await Promise.all(Array.from({ length: 5 }, (_, i) => invoke("z4", i)));
    for (const [i, { status, text }] of answers.entries()) assert.deepEqual([status, text], [200, `${i}`]);
    const refused = await platform.deploy(
      { name: "z4-late", runtime: "python", handler: "app.handler", env: { SECONDS: "30" }, start_timeout: "1s" },
      { "app.py": slow },
    );
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /it was not done within its start_timeout/);
  });
});

test("Z7: a fork killed every second costs only the call in it", async () => {
  await deploy("z7", sleepy, { keep_alive: "5s" });
  await invoke("z7", 0);
  const { result: answers, kills } = await killEverySecond(
    () => platform.forks(), // Also those that wait to be an instance.
    openLoop(200, nightly ? 60 : 10, () => invoke("z7", 30)),
  );
  const failed = answers.filter(({ status }) => status !== 200);
  for (const answer of failed) {
    assert.equal(answer.status, 502, answer.text);
    assert.match(errorOf(answer).message, /may have run|ended while starting/);
  }
  assert.ok(kills >= 6, `${kills} kills`);
  assert.ok(failed.length <= kills, `${failed.length} failed, ${kills} kills`);
  assert.ok(failed.length > 0, "no kill hit a call: the test proves nothing");
});

// What open descriptors lead to, by device and inode, which are the same from inside and outside.
function opened(pid) {
  const found = new Map();
  for (const number of readdirSync(`/proc/${pid}/fd`)) {
    const link = `/proc/${pid}/fd/${number}`;
    try {
      const { dev, ino } = statSync(link);
      found.set(`${dev}:${ino}`, readlinkSync(link));
    } catch {} // Closed meanwhile.
  }
  return found;
}

// What is the daemon's alone: its files, the control groups it writes to, sockets that listen or lead
// to clients. Not its ends of Unix sockets: of one that waits for a fork it holds both.
function ownOf(daemon) {
  const tcp = readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1);
  const sockets = new Set(tcp.map((line) => `socket:[${line.trim().split(/\s+/)[9]}]`));
  const isOwn = (leads) =>
    sockets.has(leads) || leads.startsWith(platform.data) || leads.startsWith("/sys/fs/cgroup/");
  return new Map([...opened(daemon)].filter(([, leads]) => isOwn(leads)));
}

test("D10: no instance and no template has a descriptor of the daemon's", async () => {
  await deploy("held", sleepy, { keep_alive: "0ms", max_instances: 8 });
  const forks = nightly ? 2000 : 200;
  const seen = new Set();
  const looked = new Set();
  const look = () => {
    const own = ownOf(platform.daemonPid());
    for (const kind of [/dormouse\.db$/, /\.ledger$/, /^socket:/]) {
      assert.ok([...own.values()].some((leads) => kind.test(leads)), `the daemon has no ${kind}`);
    }
    const slots = new Set(platform.forks());
    for (const pid of platform.inSandboxes()) {
      try {
        for (const [id, leads] of opened(pid)) assert.ok(!own.has(id), `${pid} has ${own.get(id)}: ${leads}`);
      } catch (failure) {
        if (failure.code !== "ENOENT") throw failure; // It ended meanwhile.
      }
      (slots.has(pid) ? seen : looked).add(pid);
    }
  };
  for (let wave = 0; seen.size < forks; ++wave) {
    assert.ok(wave < forks, `only ${seen.size} forks in ${wave} waves`);
    const calls = Array.from({ length: 8 }, () => invoke("held", 40));
    await sleep(25);
    look();
    for (const { status, text } of await Promise.all(calls)) assert.equal(status, 200, text);
  }
  assert.ok(looked.size > 0, "no template was looked at");
});

const wild = `import os, sys, time
sys.path.append("/opt/dormouse/python")
def handler(event, context):
    do = event["do"]
    if do == "close streams": os.closerange(0, 3)
    if do == "close everything": os.closerange(0, 64)
    if do == "print":
        for _ in range(event["mib"]): os.write(1, b"p" * 1048575 + b"\\n")
    if do == "return": return bytes(10 << 30)
    if do == "lie":
        from dormouse_worker import wire
        wire.Socket(3).send(wire.RESULT, 12345, wire.answer("text/plain", b"yours", False, 5))
    if do == "sleep": time.sleep(60)
    if do == "fork":
        children = 0
        try:
            while os.fork() != 0: children += 1
            time.sleep(3600)
        except OSError: return children
    return do`;

test("what a fork does to itself or to the platform costs its own call, and no other", async () => {
  await deploy("wild", wild, { timeout: "60s", keep_alive: "10s", max_instances: 4 });
  await deploy("tame", "def handler(event, context): return event", { keep_alive: "1m" });
  await deploy("late", wild, { timeout: "1s" });
  for (const [event, status, said] of [
    [{ do: "close streams" }, 200, /"close streams"/],
    [{ do: "close everything" }, 502, /may have run/],
    [{ do: "print", mib: 1024 }, 200, /"print"/],
    [{ do: "return" }, 502, /the answer has 10737418240 bytes, the limit is \d+/],
    [{ do: "lie" }, 502, /answer|malformed/],
    [{ do: "fork" }, 200, /^\d+$/],
    [{ do: "nothing" }, 200, /"nothing"/],
  ]) {
    const answer = await invoke("wild", event);
    assert.equal(answer.status, status, `${event.do}: ${answer.text}`);
    assert.match(answer.text, said);
    assert.equal((await invoke("tame", event.do)).text, JSON.stringify(event.do));
  }
  const late = await invoke("late", { do: "sleep" });
  assert.equal(late.status, 504, late.text);
  await eventually("its fork is gone", () => platform.isIdle("late"));
  assert.equal((await invoke("late", { do: "nothing" })).text, '"nothing"');
});

test("an answer without end ends at its deadline, and the daemon does not hold it", async () => {
  const code = "def handler(event, context): return (b's' * (1 << 20) for _ in range(10 << 10))";
  await deploy("endless", code, { timeout: "1500ms" });
  const before = platform.memoryOfDaemon();
  const curl = ["-sS", "--data", "1", "-H", "Content-Type: application/json", "-o", "/dev/null"];
  await assert.rejects(
    run("curl", [...curl, "-w", "%{size_download}", `${platform.url}/f/endless`]),
    ({ code, stdout }) => code === 18 && Number(stdout) > 1 << 20, // It ended before its end.
  );
  const grown = platform.memoryOfDaemon() - before;
  assert.ok(grown <= 8 << 20, `the daemon has grown by ${grown} bytes`);
  await eventually("it is gone", () => platform.isIdle("endless"));
});
