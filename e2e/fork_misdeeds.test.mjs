// What a function that is forked from a template does to itself and to the platform: it costs its own
// call, and no other. S4, S6, S17, D10.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, readdirSync, readlinkSync, statSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { deployForked, json, sleepy } from "./forked.mjs";
import { Platform, eventually, sleep } from "./platform.mjs";

const run = promisify(execFile);
const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);

let platform;
let descriptors; // Of the daemon, before all that follows.
before(async () => {
  // So that a gigabyte is printed in ten seconds, and not in two minutes.
  platform = await Platform.start({ config: "logs: { rate: 160MiB }\n" });
  await deploy("first", sleepy, { keep_alive: "0ms" });
  await invoke("first", 1);
  await allAreAsleep();
  await platform.blanksWait("python");
  descriptors = await platform.descriptorsOfDaemon();
});
after(() => platform.stop({ seen: true }));

const invoke = (name, event) => platform.invoke(name, JSON.stringify(event), json);
const deploy = (name, code, more) =>
  deployForked(platform, name, code, { template_keep_alive: "1s", ...more });

async function allAreAsleep() {
  for (const { name } of (await platform.json("list")).functions) await platform.asleep(name);
}

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
  const forks = nightly ? 10_000 : 200;
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
  await deploy("late", wild, { timeout: "3s" });
  for (const [event, status, said] of [
    [{ do: "close streams" }, 200, /"close streams"/],
    [{ do: "close everything" }, 502, /may have run/],
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

test("S6: of a gigabyte that is printed little is kept, on disk and in the daemon", async () => {
  await deploy("prints", wild, { timeout: "60s" });
  await invoke("prints", { do: "nothing" });
  const before = platform.memoryOfDaemon();
  let grown = 0;
  const look = setInterval(() => (grown = Math.max(grown, platform.memoryOfDaemon() - before)), 25);
  const answer = await invoke("prints", { do: "print", mib: 1024 });
  clearInterval(look);
  assert.deepEqual([answer.status, answer.text], [200, '"print"'], answer.text);
  assert.ok(grown <= 16 << 20, `the daemon has grown by ${grown} bytes`);
  const logs = path.join(platform.data, "logs");
  const files = readdirSync(logs).filter((file) => file.startsWith("prints."));
  const bytes = files.reduce((sum, file) => sum + statSync(path.join(logs, file)).size, 0);
  assert.ok(bytes > 1 << 20 && bytes <= 16 << 20, `${bytes} bytes of log`);
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

test("all of that has left no descriptor open in the daemon", async () => {
  await allAreAsleep();
  const areClosed = async () => (await platform.descriptorsOfDaemon()) <= descriptors;
  await eventually(`no more than ${descriptors} descriptors`, areClosed);
});
