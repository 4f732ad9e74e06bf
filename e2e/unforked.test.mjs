// Groups O, S, Z and P for functions in Node and HTTP servers, which are started and not forked: what
// one of them does to itself, or has done to it, costs its own calls and nothing else.
import { test, describe, before, after } from "node:test";
import assert from "node:assert/strict";
import { chmodSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createConnection } from "node:net";
import path from "node:path";
import { openLoop, outlive, triesWithin } from "./load.mjs";
import { Platform, eventually, program, promptly, roots, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);

// Both kinds with a window to the outside, through which a test makes their starts fail.
const windowed = (name, words, more) => `
  ${name}:
    root: ${roots}/host
    argv: [/opt/dormouse/init, /opt/dormouse/executable, ${words}]
    binds:
      - { source: /usr, target: /usr }
      - { source: /etc/alternatives, target: /etc/alternatives }
      - { source: WINDOW, target: /attempts, writable: true }
    blanks: 0
    loopback: true
    ${more}`;

let platform;
before(async () => {
  platform = new Platform();
  const both =
    windowed("windowed-node", "/usr/bin/node, /opt/dormouse/node/worker.mjs", "") +
    windowed("windowed-web", "--web", "listens: true");
  // So that what floods prints for a second, and not for a quarter of a minute.
  platform.options.config = `${both.replaceAll("WINDOW", path.dirname(platform.attempts))}
logs: { rate: 160MiB }
`;
  await platform.serve();
});
after(() => platform.stop()); // These functions log no attempts.

// What a function is asked to do, for both kinds.
const deeds = `
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const attempt = (what) => { try { return what(); } catch (failure) { return failure.code ?? String(failure); } };

function bomb(resolve) {
  let children = 0;
  const next = () => spawn("/bin/sleep", ["600"], { stdio: "ignore" })
    .on("spawn", () => { ++children; next(); })
    .on("error", (failure) => resolve(failure.code + " after " + children));
  next();
}

// All of it stays: nobody but the platform takes it away.
function fill() {
  const said = {};
  for (const folder of ["/dev/shm", "/tmp"]) {
    const file = folder + "/full";
    const full = attempt(() => { for (;;) fs.appendFileSync(file, Buffer.alloc(64 << 10)); });
    said[folder] = [full, fs.statSync(file).size];
  }
  let files = 0;
  fs.truncateSync("/tmp/full");
  const full = attempt(() => { for (;; ++files) fs.closeSync(fs.openSync("/tmp/" + files, "wx")); });
  return { ...said, files: [full, files] };
}

let pouring = 0;
async function* pour() {
  ++pouring;
  try {
    for (;; await pause(100)) yield "s".repeat(1000);
  } finally {
    --pouring;
  }
}

const places = ["\\0left", "/tmp/left.sock", { host: "127.0.0.1", port: 7007 }];

async function leave() {
  for (const file of ["/tmp/left", "/dev/shm/left"]) fs.writeFileSync(file, "x");
  spawn("/bin/sleep", ["600"], { detached: true, stdio: "ignore" }).unref();
  for (const place of places) await once(net.createServer().listen(place), "listening");
  globalThis.left = setInterval(() => {}, 1000);
  process.env.LEFT = process.env.NODE_OPTIONS = "--left";
  process.on("SIGUSR2", () => {});
  process.chdir("/tmp");
  process.umask(0o777);
}

const answers = (place) => new Promise((resolve) => {
  const socket = net.connect(place, () => resolve(Boolean(socket.destroy()))).on("error", () => resolve(false));
});
const named = (pid) => attempt(() => fs.readFileSync("/proc/" + pid + "/comm", "utf8").trim());

async function left() {
  const signs = { memory: "left" in globalThis, variable: "LEFT" in process.env, options: "NODE_OPTIONS" in process.env,
    action: process.listenerCount("SIGUSR2") > 0, cwd: process.cwd() === "/tmp", umask: process.umask(0o22) === 0o777,
    process: fs.readdirSync("/proc").some((pid) => named(pid) === "sleep") };
  for (const [i, name] of ["abstract", "path", "port"].entries()) signs[name] = await answers(places[i]);
  for (const folder of ["/tmp", "/dev/shm"]) for (const name of fs.readdirSync(folder)) signs[folder + "/" + name] = true;
  return Object.keys(signs).filter((sign) => signs[sign]).sort();
}

export async function act(how, n) {
  if (how === "spin") for (;;);
  if (how === "stop") process.kill(process.pid, "SIGSTOP");
  if (how === "deaf") { process.on("SIGTERM", () => {}); for (;;); }
  if (how === "sleep") await pause(n);
  if (how === "oom") for (const all = []; ;) all.push(Buffer.alloc(16 << 20, 1));
  if (how === "fork") return new Promise(bomb);
  if (how === "kill-all") return attempt(() => process.kill(-1, "SIGKILL"));
  if (how === "print") for (let i = 0; i < n; ++i) fs.writeSync(1, "p".repeat(1048575) + "\\n");
  if (how === "fill") return fill();
  if (how === "pour") return pour();
  if (how === "pouring") return pouring;
  if (how === "leave") return leave();
  if (how === "left") return left();
  if (how === "look") return {
    cwd: process.cwd(),
    daemon: fs.existsSync(${JSON.stringify(program)}),
    writes: ["/code/x", "/opt/dormouse/x", "/usr/x", process.execPath].map((at) => attempt(() => fs.appendFileSync(at, "x"))),
    processes: fs.readdirSync("/proc").filter((name) => /^\\d+$/.test(name)).length,
    tmp: fs.readdirSync("/tmp").filter((name) => name === "left"),
    ids: [process.getuid(), process.getgid()],
    open: fs.readdirSync("/proc/self/fd").map((number) => attempt(() => fs.readlinkSync("/proc/self/fd/" + number))),
  };
  return how;
}
`;

const handler = `import { act } from "./deeds.mjs";
FAIL
export const handler = async ({ how, n }) => act(how, n);
`;

const server = `import { createServer } from "node:http";
import { Readable } from "node:stream";
import { act } from "./deeds.mjs";
FAIL
createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  if (request.url === "/stream") {
    const more = () => { while (response.write("s".repeat(65536))); };
    response.on("drain", more);
    return more();
  }
  const { how, n } = JSON.parse(body);
  const came = await act(how, n);
  if (how === "pour") return Readable.from(came).on("error", () => {}).pipe(response).on("close", () => came.return());
  response.setHeader("Content-Type", "application/json").end(JSON.stringify(came ?? null));
}).on("upgrade", (request, socket) => {
  socket.on("error", () => {});
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n");
}).listen(process.env.PORT);
`;

const failing = (name) => `import { existsSync, appendFileSync } from "node:fs";
if (existsSync("/attempts/${name}")) {
  appendFileSync("/attempts/${name}", "x\\n");
  throw new Error("no weights");
}`;

const json = { "content-type": "application/json" };
const invoke = (name, how, n) => platform.invoke(name, JSON.stringify({ how, n }), json);
const errorOf = ({ text }) => JSON.parse(text).error;

const kinds = {
  node: { code: handler, manifest: { runtime: "node", handler: "app.handler" } },
  web: { code: server, manifest: { runtime: "web", command: ["node", "app.mjs"] } },
};

async function deploy(kind, name, more = {}, fail = "") {
  const { code, manifest } = kinds[kind];
  const files = { "app.mjs": code.replace("FAIL", fail), "deeds.mjs": deeds, name };
  const done = await platform.deploy({ name, memory: "192MiB", ...manifest, ...more }, files);
  assert.equal(done.code, 0, done.stderr);
}

// Of an endless stream, of which he has had the first piece.
function readerOf(name) {
  return new Promise((resolve, reject) => {
    const request = http.request({ port: platform.port, path: `/f/${name}`, method: "POST", headers: json, agent: false });
    request.on("error", reject).on("response", (response) => {
      const destroy = () => request.destroy();
      response.on("error", () => {}).once("data", () => resolve({ id: response.headers["dormouse-invocation"], destroy }));
    });
    request.end('{"how": "pour"}');
  });
}

// Of one function, by what lies with its code: not what waits to be one.
function processesOf(name) {
  return platform.inSandboxes().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/root/code/name`, "utf8") === name;
    } catch {
      return false;
    }
  });
}
const isServer = (pid) => /node.app\.mjs|worker\.mjs/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
const serversOf = (name) => processesOf(name).filter(isServer);

const userOf = (pid) => /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1];

for (const kind of Object.keys(kinds)) {
  describe(kind, () => {
    const bad = `${kind}-bad`;
    const good = `${kind}-good`;
    const stillGood = async () => assert.equal((await invoke(good, "still")).text, '"still"');
    before(async () => {
      await deploy(kind, bad, { timeout: "20s", max_instances: 1 });
      await deploy(kind, good, { keep_alive: "10m", max_instances: 1 });
    });

    test("O7: what spins, stops itself or will not listen is gone soon after its timeout", async () => {
      const timeout = 700;
      await deploy(kind, `${kind}-deaf`, { timeout: `${timeout}ms`, max_instances: 3 });
      const bodies = ["spin", "stop", "deaf"].map((how) => JSON.stringify({ how }));
      await outlive(platform, `${kind}-deaf`, bodies, { timeout, waves: nightly ? 70 : 2, headers: json });
    });

    test("S3: a fork bomb stops at the limit of processes, and goes with its instance", async () => {
      const name = `${kind}-bomb`;
      await deploy(kind, name, { keep_alive: "0ms", max_instances: 1 });
      for (let round = 0; round < (nightly ? 100 : 3); ++round) {
        assert.match((await invoke(name, "fork")).text, /"EAGAIN after \d\d"/);
        await stillGood();
        const answered = Date.now();
        await eventually("nothing is left", () => processesOf(name).length === 0);
        assert.ok(Date.now() - answered <= 2000, `${Date.now() - answered} ms`);
      }
    });

    test("S4: more memory than declared is an OutOfMemory, and the sibling lives", async () => {
      const answer = await invoke(bad, "oom");
      assert.equal(answer.status, 502, answer.text);
      assert.match(errorOf(answer).message, /OutOfMemory/);
      await stillGood();
    });

    test("S5: what may be written is full at its size and number of files, and all of it is given back", async () => {
      const name = `${kind}-full`;
      await deploy(kind, name, { keep_alive: "0ms", max_instances: 1 });
      for (let round = 0; round < (nightly ? 20 : 2); ++round) { // In another instance each time.
        const said = JSON.parse((await invoke(name, "fill")).text);
        assert.deepEqual(said, { "/dev/shm": ["ENOSPC", 1 << 20], "/tmp": ["ENOSPC", 64 << 20], files: ["ENOSPC", said.files[1]] });
        assert.ok(said.files[1] > 10_000 && said.files[1] < 17_000, `${said.files[1]} files`);
        await stillGood();
        await platform.asleep(name);
        assert.equal((await platform.status(name)).memory_bytes, 0);
      }
    });

    test("S6: a flood of output is bounded, and does not stop its function", async () => {
      const before = platform.memoryOfDaemon();
      assert.equal((await invoke(bad, "print", nightly ? 1000 : 128)).text, '"print"');
      const logs = path.join(platform.data, "logs");
      const kept = readdirSync(logs, { recursive: true })
        .filter((name) => name.includes(bad))
        .reduce((sum, name) => sum + statSync(path.join(logs, name)).size, 0);
      assert.ok(kept <= 17 << 20, `${kept} bytes of logs`);
      const grown = platform.memoryOfDaemon() - before;
      assert.ok(grown <= 16 << 20, `the daemon has grown by ${grown} bytes`);
      await stillGood();
    });

    test("S10: however often it starts, it has the same descriptors, and none of the platform's files", async () => {
      const name = `${kind}-open`;
      await deploy(kind, name, { keep_alive: "0ms", max_instances: 1 });
      const open = async () => {
        const leads = JSON.parse((await invoke(name, "look")).text).open;
        return leads.map((to) => to.replace(/\d+/g, "N")).sort(); // Of a pipe or socket, its number.
      };
      const first = await open();
      assert.ok(!first.some((to) => to.includes(platform.data)), first.join());
      for (let start = 0; start < (nightly ? 200 : 20); ++start) assert.deepEqual(await open(), first, `start ${start}`);
    });

    test("S10, S11, S15, S16: it sees itself alone, changes nothing, and leaves nothing to the next", async () => {
      await invoke(bad, "leave");
      const told = async (name) => JSON.parse((await invoke(name, "look")).text);
      const [one, other] = [await told(bad), await told(good)];
      for (const it of [one, other]) {
        assert.equal(it.daemon, false);
        for (const code of it.writes) assert.match(code, /^(EROFS|EACCES|EPERM|ETXTBSY)$/);
        assert.ok(it.processes <= 4, `${it.processes} processes`);
        for (const leads of it.open) {
          assert.match(leads, /^(\/dev\/null|pipe:|socket:|anon_inode:|\/proc\/\d+\/fd|ENOENT|\/usr|\/code)/);
        }
        assert.notEqual(it.ids[0], 0);
      }
      assert.match(one.cwd, /^\/(code|tmp)?$/);
      assert.deepEqual(one.tmp, ["left"]); // In the instance that it left it in, alone.
      assert.deepEqual(other.tmp, []);
      const users = [bad, good].map((name) => serversOf(name).map(userOf));
      assert.ok(users.every((each) => each.length > 0 && !each.includes("0")), users.join());
      assert.ok(!users[0].some((user) => users[1].includes(user)), users.join());
      await invoke(bad, "kill-all");
      await stillGood();
      await deploy(kind, bad, { timeout: "20s", max_instances: 1, keep_alive: "0ms" });
      assert.deepEqual((await told(bad)).tmp, []);
      await platform.asleep(bad);
    });

    test("S16: with `reuse: clean` nobody finds what another call left, nor another function without", async () => {
      const left = async (name) => JSON.parse((await invoke(name, "left")).text);
      await deploy(kind, `${kind}-warm`, { keep_alive: "10s", max_instances: 1 });
      assert.deepEqual(await left(`${kind}-warm`), []);
      await invoke(`${kind}-warm`, "leave");
      assert.deepEqual(await left(`${kind}-warm`), [
        "/dev/shm/left", "/tmp/left", "/tmp/left.sock", "abstract", "action", "cwd", "memory", "options", "path", "port",
        "process", "umask", "variable",
      ]);
      assert.deepEqual(await left(good), []); // While that instance is still there.
      const clean = `${kind}-clean`;
      await deploy(kind, clean, { keep_alive: "10s", max_instances: 1, concurrency: 1, reuse: "clean" });
      for (let round = 0; round < (nightly ? 10 : 3); ++round) {
        const leaves = invoke(clean, "leave");
        const looks = await Promise.all([left(clean), left(clean)]); // They come one after another.
        assert.deepEqual([(await leaves).status, ...looks], [200, [], []], `round ${round}`);
      }
    });

    test("O6: of 200 readers who leave in the middle of a stream each has a receipt, and nothing goes on for him", async () => {
      const name = `${kind}-left`;
      const readers = 200;
      await deploy(kind, name, { concurrency: readers + 1, max_instances: 1, timeout: "1m" });
      assert.equal((await invoke(name, "pouring")).text, "0");
      const all = await Promise.all(Array.from({ length: readers }, () => readerOf(name)));
      const running = async () => (await platform.status(name)).running;
      assert.equal(await running(), readers);
      assert.equal((await invoke(name, "pouring")).text, `${readers}`);
      const crowd = Math.ceil(readers / 3);
      await promptly("who left is gone", 200, (i) => ({
        cause: () => all.slice(i * crowd, (i + 1) * crowd).forEach((reader) => reader.destroy()),
        came: async () => (await running()) <= Math.max(readers - (i + 1) * crowd, 0),
      }));
      await eventually("nothing is poured", async () => (await invoke(name, "pouring")).text === "0");
      for (const { id } of all) assert.deepEqual((await platform.receiptOf(id)).outcome, "cancelled", id);
      assert.equal(new Set(all.map(({ id }) => id)).size, readers);
    });

    test("Z2: from zero to 700 calls a second, none fails", async () => {
      const most = 2;
      await deploy(kind, `${kind}-z2`, { keep_alive: "5s", concurrency: 100, max_instances: most, queue: 5000 });
      await platform.asleep(`${kind}-z2`);
      const answers = await openLoop(700, nightly ? 30 : 3, () => invoke(`${kind}-z2`, "sleep", 2));
      assert.deepEqual(answers.filter(({ status }) => status !== 200), []);
      const { instances } = await platform.status(`${kind}-z2`);
      assert.ok(instances.busy + instances.dozing <= most, JSON.stringify(instances));
    });
  });
}

// Most of it is waiting, so they wait together: four, since no more are deployed at a time.
describe("at the edges of sleep", { concurrency: 4 }, () => {
  for (const kind of Object.keys(kinds)) {
    test(`${kind}: Z1: calls within 5 ms of the idle deadline are all answered`, async () => {
      const keepAlive = 150;
      await deploy(kind, `${kind}-z1`, { keep_alive: `${keepAlive}ms`, concurrency: 10, max_instances: 2 });
      for (let round = 0; round < (nightly ? 500 : 15); ++round) {
        const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => invoke(`${kind}-z1`, i)));
        for (const [i, { status, text }] of answers.entries()) assert.deepEqual([status, text], [200, `${i}`]);
        await sleep(keepAlive - 5 + Math.random() * 10);
      }
    });

    test(`${kind}: Z3: what cannot start says why to all who wait, and is not tried at once again`, async () => {
      const name = `${kind}-z3`;
      const flag = path.join(path.dirname(platform.attempts), name);
      await deploy(kind, name, { runtime: `windowed-${kind}`, keep_alive: "0ms", max_instances: 1 }, failing(name));
      await platform.asleep(name);
      writeFileSync(flag, "");
      chmodSync(flag, 0o666);
      const began = Date.now();
      const answers = [];
      while (Date.now() < began + 2500) {
        answers.push(...(await Promise.all(Array.from({ length: 10 }, () => invoke(name, "x")))));
        assert.equal((await platform.status(name)).queued, 0);
        await sleep(20);
      }
      const starts = readFileSync(flag, "utf8").split("\n").length - 1;
      const most = triesWithin(Date.now() - began);
      rmSync(flag);
      for (const answer of answers) {
        assert.ok(answer.status === 502 || answer.status === 503, `${answer.status} ${answer.text}`);
        assert.match(errorOf(answer).message, /no weights|exited with status 1/);
        assert.equal(errorOf(answer).blame, "function");
      }
      assert.ok(answers.length > 100, `${answers.length} calls`);
      assert.ok(starts >= 1 && starts <= most, `${starts} starts, at most ${most} are due`);
      await eventually("it starts again", async () => (await invoke(name, "well")).text === '"well"', 20_000);
    });

    test(`${kind}: Z4: a slow start within its limit is waited for, one beyond it is given up with a reason`, async () => {
      const slow = "await new Promise((resolve) => setTimeout(resolve, Number(process.env.MS)));";
      const name = `${kind}-z4`;
      await deploy(kind, name, { keep_alive: "0ms", env: { MS: "1500" }, start_timeout: "20s", concurrency: 5 }, slow);
      await platform.asleep(name);
      const answers = await Promise.all(Array.from({ length: 5 }, (_, i) => invoke(name, i)));
      for (const [i, { status, text }] of answers.entries()) assert.deepEqual([status, text], [200, `${i}`]);
      await assert.rejects(
        deploy(kind, `${name}-late`, { env: { MS: "60000" }, start_timeout: "1s" }, slow),
        /within its start_timeout/,
      );
    });
  }
});

const streaming = "GET /f/web-slow/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";

test("O5, O6: readers that do not read cost little, and are cut; those that leave free their places", async () => {
  const readers = nightly ? 1000 : 100;
  await deploy("web", "web-slow", { concurrency: 1000, timeout: "6s", memory: "1GiB" });
  assert.equal((await invoke("web-slow", "up")).status, 200);
  const before = platform.memoryOfDaemon();
  const open = () => {
    const socket = createConnection(platform.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(streaming);
    socket.pause();
    return socket;
  };
  const slow = Array.from({ length: readers }, open);
  await eventually("all are served", async () => (await platform.status("web-slow")).running === readers);
  await sleep(1000);
  const grown = platform.memoryOfDaemon() - before;
  assert.ok(grown <= readers * (64 << 10) + (8 << 20), `the daemon has grown by ${grown} bytes`);
  assert.equal((await invoke("web-slow", "beside")).text, '"beside"');
  // Half of them leave in three crowds, the others are cut at their deadline.
  const crowd = Math.floor(readers / 6);
  await promptly("who left is gone", 200, (i) => ({
    cause: () => slow.slice(i * crowd, (i + 1) * crowd).forEach((socket) => socket.destroy()),
    came: async () => (await platform.status("web-slow")).running <= readers - (i + 1) * crowd,
  }));
  await eventually("the others are cut", () => platform.isIdle("web-slow"), 15_000);
  for (const socket of slow) socket.destroy();
});

test("P10: what floods a WebSocket that nobody reads fills no memory", async () => {
  await deploy("web", "web-flood", { timeout: "20s" });
  assert.equal((await invoke("web-flood", "up")).status, 200);
  const before = platform.memoryOfDaemon();
  const request = http.request({
    port: platform.port, path: "/f/web-flood/", agent: false,
    headers: { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==" },
  });
  request.end();
  const socket = await new Promise((resolve) => request.on("upgrade", (_, upgraded) => resolve(upgraded)));
  socket.on("error", () => {});
  // Pings, frames that say they have 2^63 bytes, unmasked ones, fragments that never end.
  const frames = [[0x89, 0x80, 0, 0, 0, 0], [0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], [0x81, 1, 65], [0x01, 0x80, 0, 0, 0, 0]];
  const flood = Buffer.concat(Array.from({ length: 50_000 }, (_, i) => Buffer.from(frames[i % frames.length])));
  for (let sent = 0; sent < 32 << 20 && !socket.destroyed; sent += flood.length) socket.write(flood);
  await sleep(1500);
  const grown = platform.memoryOfDaemon() - before;
  assert.ok(grown <= 8 << 20, `the daemon has grown by ${grown} bytes`);
  assert.equal((await invoke("web-flood", "beside")).text, '"beside"');
  // What was never taken from a client hides its FIN: only a reset is seen before the timeout.
  socket.resetAndDestroy();
  await eventually("its place is free", () => platform.isIdle("web-flood"));
});
