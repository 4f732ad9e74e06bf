// Groups M, O and Z for language models: files that change while they are deployed, what one function
// can learn of another by the clock, readers that hardly read, starts that fail, or take long. Where a
// real model would only keep the processor busy, the tests' own worker is one: tests/probe/language_model.h.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync, readdirSync, readlinkSync, renameSync,
  rmSync, statSync, writeFileSync, writeSync,
} from "node:fs";
import { createConnection } from "node:net";
import path from "node:path";
import { openLoop, triesWithin } from "./load.mjs";
import { Platform, eventually, repository, roots, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
const llama = readFileSync(path.join(repository, "runtimes/llm/testdata/llama.gguf"));

let platform;
before(async () => {
  platform = new Platform();
  platform.options.config = `  talker:
    root: ${roots}/probe
    argv: ["/bin/worker"]
    binds: [{ source: ${path.dirname(platform.attempts)}, target: /attempts, writable: true }]
    language_models: true
`;
  await platform.serve();
});
after(() => platform.stop());

async function deploy(name, fields = {}) {
  const manifest = { name, runtime: "llm", model: "model.gguf", timeout: "2m", ...fields };
  const done = await platform.deploy(manifest, { "model.gguf": llama });
  assert.equal(done.code, 0, done.stderr);
}
const deployTalker = (name, fields) => platform.deployProbe(name, { runtime: "talker", ...fields });

const restless = { keep_alive: "0ms", template_keep_alive: "0ms" };

const post = (target, fields, headers = {}) =>
  platform.request("POST", target, {
    body: JSON.stringify(fields),
    headers: { "content-type": "application/json", ...headers },
  });
const complete = (model, prompt, more = {}) =>
  post("/v1/completions", { model, prompt, max_tokens: 1, temperature: 0, ignore_eos: true, ...more });
const textOf = (answer) => JSON.parse(answer.text).choices[0].text;

const digestOf = (content) => createHash("sha256").update(content).digest("hex");

// The folders that may be /code in a function's sandboxes: while it was tried out, it had another one, which
// a busy machine may have left it with.
function treesOf(digest) {
  const trees = path.join(platform.data, "blobs/trees");
  return readdirSync(trees).filter((each) => each.startsWith(digest)).map((each) => path.join(trees, each));
}
function treeOf(digest) {
  const trees = treesOf(digest);
  return trees.find((each) => existsSync(path.join(each, ".dormouse"))) ?? trees[0];
}
const revisionOf = async (name) => (await platform.json("show", name)).function.revision;

// Clients that read a byte a second each of what the model `name` says, a word after the other.
async function openReaders(name, count, words, ...more) {
  const asked = JSON.stringify({ model: name, messages: [{ content: `stall ${words}` }], stream: true });
  const head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
  const args = [platform.port, count, `${head}Content-Length: ${asked.length}\r\n\r\n${asked}`, ...more];
  const client = spawn(path.join(repository, "e2e/slow_readers.py"), args, { stdio: ["pipe", "pipe", "inherit"] });
  await once(client.stdout, "data");
  await eventually("all are served", async () => (await runningOf(name)) === count);
  return client;
}
const runningOf = async (name) => (await platform.status(name)).running;
const gone = (name) => eventually(`${name} has no calls`, async () => (await runningOf(name)) === 0);

// Until it has done what it was asked for: whenever one looks, none of its threads runs or would like to.
async function daemonRests() {
  const tasks = `/proc/${platform.daemonPid()}/task`;
  const runs = (task) => {
    try {
      return !/\) S /.test(readFileSync(path.join(tasks, task, "stat"), "utf8"));
    } catch {
      return true; // It has just ended.
    }
  };
  let looks = 0;
  await eventually("the daemon rests", () => {
    looks = readdirSync(tasks).some(runs) ? 0 : looks + 1;
    return looks === 10;
  }, 60_000);
}

// Half of the calls of a function that has nothing to do take less, and all but one in a hundred (ms).
async function timesBeside() {
  await daemonRests();
  const times = [];
  while (times.length < 300) {
    const began = performance.now();
    assert.equal((await platform.invoke("beside", "echo x")).status, 200);
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  return { p50: times[150], p99: times[297] };
}
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

// Before all others: what the daemon has had once it has at hand, and does not grow by.
test("O5: readers of a byte a second cost little, and disturb nobody", async () => {
  const readers = nightly ? 1000 : 100;
  await deployTalker("slowly", { concurrency: readers, max_instances: 1, timeout: "2m" });
  await platform.deployProbe("beside", { keep_alive: "10m" });
  await timesBeside();
  const before = platform.memoryOfDaemon();
  // What those do not read is taken by the kernel, as of any client. Of the last it takes little, and
  // they are sent a credit window of bytes, in so many words.
  const words = 1700;
  const rounds = [[600], [600], ...(nightly ? [[600], [600]] : []), [words, "--narrow"]];
  const alone = [], beside = [], cost = [];
  const go = async (round) => {
    alone.push(await timesBeside());
    const client = await openReaders("slowly", readers, ...round);
    beside.push(await timesBeside());
    const bytes = Math.round((platform.memoryOfDaemon() - before) / readers);
    assert.equal(await runningOf("slowly"), readers);
    client.stdin.end();
    await gone("slowly");
    return bytes;
  };
  for (const round of rounds) cost.push(await go(round));
  const ratio = (which, of) => of(beside.map((each) => each[which])) / of(alone.map((each) => each[which]));
  console.log(`${cost} bytes for each; beside them p50 is ${ratio("p50", median)}×, p99 ${ratio("p99", median)}×`);
  const slack = (2 << 20) / readers; // What so many calls of any kind leave behind.
  for (const each of cost.slice(0, -1)) assert.ok(each <= (64 << 10) + slack, `${cost} bytes for each`);
  assert.ok(cost.at(-1) <= (256 << 10) + words * 100 + slack, `${cost} bytes for each`);
  // Of the best rounds: what else a machine does is in one and not in another. On a busy machine it takes more of them.
  const ofTheBest = () => ratio("p50", (values) => Math.min(...values));
  while (ofTheBest() > 1.5 && alone.length < 12) await go([600]);
  assert.ok(ofTheBest() <= 1.5, JSON.stringify({ alone, beside }));
});

test("M6: what is deployed while its file is swapped is one whole file, and what is served is that file", async () => {
  // The same model with other weights at its end, and what each of them says.
  const other = Buffer.from(llama);
  for (let at = llama.length - 60_000; at < llama.length; at += 2) other[at] ^= 0x80;
  const models = [llama, other];
  const says = new Map();
  for (const [i, model] of models.entries()) {
    const done = await platform.deploy(
      { name: `m6-${i}`, runtime: "llm", model: "model.gguf" }, { "model.gguf": model });
    assert.equal(done.code, 0, done.stderr);
    says.set(digestOf(model), textOf(await complete(`m6-${i}`, "the moon", { max_tokens: 12 })));
  }
  assert.equal(new Set(says.values()).size, 2, "both say the same: the test proves nothing");

  const dir = mkdtempSync(path.join(platform.dir, "swapped-"));
  const file = path.join(dir, "model.gguf");
  writeFileSync(file, llama);
  writeFileSync(path.join(dir, "dormouse.yaml"), "name: m6\nruntime: llm\nmodel: model.gguf\n");
  let swaps = 0, over = false;
  const swapping = (async () => {
    for (; !over; ++swaps) {
      const next = path.join(platform.dir, "next.gguf");
      writeFileSync(next, models[swaps % 2]);
      renameSync(next, file);
      if (swaps % 3 === 0) {
        const open = openSync(file, "r+"); // In its place, too.
        writeSync(open, models[(swaps + 1) % 2].subarray(-60_000), 0, 60_000, llama.length - 60_000);
        closeSync(open);
      }
      await sleep(Math.random() * 4);
    }
  })();
  const met = new Set();
  try {
    for (let race = 0; race < (nightly ? 1000 : 15); ++race) {
      const done = await platform.cli("deploy", dir);
      if (done.code !== 0) {
        assert.match(done.stderr, /changed while it was sent|not what its digest says/, done.stderr);
        continue;
      }
      const revision = await revisionOf("m6");
      const digest = revision.digest.split(":").at(-1);
      const served = digestOf(readFileSync(path.join(treeOf(digest), "model.gguf")));
      const listed = revision.files.find((each) => each.path === "model.gguf").digest;
      assert.equal(listed, `sha256:${served}`);
      const said = textOf(await complete("m6", "the moon", { max_tokens: 12 }));
      if (says.has(served)) assert.equal(said, says.get(served), `race ${race}`);
      met.add(served);
    }
  } finally {
    over = true;
    await swapping;
  }
  assert.ok(swaps > 10 && met.size >= 2, `${swaps} swaps, ${met.size} files`);
});

// The loader of the deploy that is on its way, once it has the model open, and its sandbox. None of those
// that were there before.
function loaderSince(before) {
  const hasModel = (pid) =>
    readdirSync(`/proc/${pid}/fd`).some((each) => readlinkSync(`/proc/${pid}/fd/${each}`).endsWith("model.gguf"));
  return eventually("a loader", () => {
    for (const pid of platform.processes().filter((each) => !before.has(each))) {
      try {
        const [, sandbox] = /\/dormouse-\w+\/([\w-]+)/.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
        if (hasModel(pid)) return { pid, sandbox };
      } catch {} // It or what it had open has gone.
    }
  });
}

test("M7: a loader that is killed, stops or has too little memory fails its deploy, and nothing else", async () => {
  const file = path.join(platform.dir, "larger.gguf");
  // The same with layers so wide that it has 48 MiB.
  const make = "import sys, make\nmake.HIDDEN = 1 << 16\nmake.make_llama(sys.argv[1])";
  const cwd = path.join(repository, "runtimes/llm/testdata");
  execFileSync("/usr/bin/python3", ["-B", "-c", make, file], { cwd });
  const larger = readFileSync(file);
  await platform.deployProbe("m7-other", { keep_alive: "10m" });
  await deploy("m7-good", restless);
  const rows = [
    [{ memory: "32MiB" }, undefined, /starting m7: it ended while starting: OutOfMemory: the function used more than its 32 MiB/],
    [{}, "SIGKILL", /starting m7: it ended while starting: .* signal 9 \(SIGKILL\)/],
    [{ start_timeout: "1500ms" }, "SIGSTOP", /starting m7: it was not done within its start_timeout/],
  ];
  const memory = platform.memoryOfDaemon();
  for (const [fields, signal, why] of rows) {
    await platform.blanksWait("llm"); // So that what comes is no such one.
    const before = new Set(platform.processes());
    let over = false, beside = 0;
    const manifest = { name: "m7", runtime: "llm", model: "model.gguf", ...fields };
    const deploying = platform.deploy(manifest, { "model.gguf": larger }).finally(() => (over = true));
    const calling = (async () => {
      for (; !over; ++beside) {
        assert.equal((await platform.invoke("m7-other", "echo x")).status, 200);
        assert.equal((await readinessOf("m7")).status, 404); // It has never started.
      }
    })();
    const { pid, sandbox } = await loaderSince(before);
    if (signal) process.kill(pid, signal);
    const done = await deploying;
    assert.notEqual(done.code, 0, done.stdout);
    assert.match(done.stderr, why);
    await calling;
    assert.ok(beside >= 5, `${beside} calls beside it`);
    await eventually("nothing of it is left", () => {
      const folders = ["sandboxes", "oci"].flatMap((each) => readdirSync(path.join(platform.data, "sandboxes", each)));
      return platform.inGroups(`/${sandbox}/`).length === 0 && !folders.includes(sandbox);
    });
    assert.equal(await platform.status("m7"), undefined);
    assert.equal((await readinessOf("m7")).status, 404);
  }
  assert.equal((await complete("m7-good", "still")).status, 200);
  const grown = platform.memoryOfDaemon() - memory;
  assert.ok(grown <= 4 << 20, `the daemon has grown by ${grown} bytes`);
});

// By how many standard deviations `left` has more of the long times than chance gives it (Mann and
// Whitney's z): what else the machine does makes some calls much longer, and counts as little as they do.
function difference(left, right) {
  const all = [...left.map((ms) => ({ ms, isLeft: true })), ...right.map((ms) => ({ ms, isLeft: false }))];
  all.sort((a, b) => a.ms - b.ms);
  const n = left.length, m = right.length;
  const ranks = all.reduce((sum, { isLeft }, i) => sum + (isLeft ? i + 1 : 0), 0);
  return (ranks - (n * (n + m + 1)) / 2) / Math.sqrt((n * m * (n + m + 1)) / 12);
}

test("M10: by the clock nobody learns what another function's model was told", async () => {
  await deploy("told", { keep_alive: "1m", concurrency: 8 });
  await deploy("asked", { keep_alive: "1m", concurrency: 8 });
  const count = nightly ? 1000 : 120;
  // Texts that begin differently, so that nothing of one is known by another.
  const text = (i) => `${i} ${"the dormouse sleeps by the river and wakes in the house ".repeat(6)}`;
  const timed = async (model, i) => {
    const began = performance.now();
    const answer = await complete(model, text(i));
    assert.equal(answer.status, 200, answer.text);
    return performance.now() - began;
  };
  for (const model of ["told", "asked"]) await timed(model, -1);
  const samples = { known: [], unknown: [], again: [], anew: [] };
  let control = 0;
  // On a busy machine the control takes more to see anything.
  for (let i = 0; i < count || (control <= 4.5 && i < 10 * count); ++i) {
    const secret = 2 * i, other = 2 * i + 1;
    samples.anew.push(await timed("told", secret));
    samples.again.push(await timed("told", secret)); // Here it is known.
    const pair = [["known", secret], ["unknown", other]];
    for (const [what, which] of i % 2 ? pair : pair.reverse()) samples[what].push(await timed("asked", which));
    if (i % count === count - 1) control = difference(samples.anew, samples.again);
  }
  const across = difference(samples.unknown, samples.known);
  assert.ok(control > 4.5, `the control sees nothing: z = ${control}`);
  assert.ok(Math.abs(across) < 4.5, `z = ${across} across functions, ${control} within one`);
});

test("O5: readers that hardly read cost little, and are cut; those that leave free their places", async () => {
  const readers = 8;
  await deploy("slow", { concurrency: 64, timeout: "5s" });
  // So much of each token that no answer fits into what the kernel holds of a connection.
  const ask = JSON.stringify({
    model: "slow", messages: [{ role: "user", content: "the moon" }], stream: true, max_tokens: 1900, ignore_eos: true,
    n: 2, logprobs: true, top_logprobs: 20,
  });
  assert.equal((await complete("slow", "up")).status, 200);
  const before = platform.memoryOfDaemon();
  const connect = () => {
    const socket = createConnection(platform.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
        `Content-Length: ${ask.length}\r\n\r\n${ask}`,
    );
    socket.pause();
    return socket;
  };
  const slow = Array.from({ length: readers }, connect);
  const running = () => runningOf("slow");
  await eventually("all are served", async () => (await running()) === readers);
  await sleep(3000);
  assert.equal(await running(), readers, "some have ended before their deadline");
  const grown = platform.memoryOfDaemon() - before;
  // A credit window each, and what else these calls take. Each answer has more than 4 MB.
  assert.ok(grown <= readers * (256 << 10) + (8 << 20), `the daemon has grown by ${grown} bytes`);
  assert.equal((await complete("slow", "beside")).status, 200);
  // Of another model, and with much that they have not read.
  await deployTalker("cut", { concurrency: 20, max_instances: 1, timeout: "1500ms" });
  const open = await platform.descriptorsOfDaemon();
  const others = await openReaders("cut", 20, 1700, "--narrow");
  for (const socket of slow.slice(readers / 2)) socket.destroy();
  await eventually("who left is gone", async () => (await running()) <= readers / 2, 3000);
  await gone("cut");
  await eventually("the others are cut", async () => (await running()) === 0, 20_000);
  for (const socket of slow) socket.destroy();
  // Their calls have ended, and their connections end as those of all who read too slowly.
  if (nightly) await eventually("it holds none", async () => (await platform.descriptorsOfDaemon()) < open, 45_000);
  others.stdin.end();
  assert.equal((await complete("slow", "after")).status, 200);
});

test("Z2: from zero to many calls a second, none fails, and one start is enough", async () => {
  const fields = { keep_alive: "5s", max_instances: 1, queue: 5000 };
  await deploy("z2", { ...fields, concurrency: 64 });
  await deployTalker("z2-talker", { ...fields, concurrency: 700 });
  const wakes = async (name) => {
    const { wakes } = (await platform.json("show", name)).function;
    return wakes.reduce((sum, { count }) => sum + count, 0);
  };
  // As many as a tiny model answers here, and as many as the platform is to take.
  const loads = [["z2", nightly ? 300 : 150, nightly ? 30 : 2, "one"], ["z2-talker", 700, nightly ? 30 : 2, "words 1"]];
  for (const [name, perSecond, seconds, prompt] of loads) {
    await platform.asleep(name);
    const before = await wakes(name);
    const answers = await openLoop(perSecond, seconds, () => complete(name, prompt));
    assert.equal(answers.length, perSecond * seconds);
    assert.deepEqual(answers.filter(({ status }) => status !== 200), []);
    assert.equal((await wakes(name)) - before, 1);
  }
});

// What KServe's clients are told of a model.
async function readinessOf(name) {
  const { status, text } = await platform.request("GET", `/v2/models/${name}/ready`);
  return { status, ...JSON.parse(text) };
}
const ready = (name) => ({ status: 200, name, ready: true });
// Why not, once no start is on its way, and before the next one is due.
async function whyNotReady(name) {
  const told = await eventually(`${name} is not ready`, async () => {
    const now = await readinessOf(name);
    return now.status === 503 && now;
  });
  assert.equal(told.ready, false);
  return told.error;
}

test("Z3: when a model is gone, all who wait are told why, and starts keep their distance", async () => {
  await deploy("z3", { ...restless, concurrency: 4, max_instances: 1 });
  assert.equal((await complete("z3", "up")).status, 200);
  await platform.asleep("z3");
  const models = treesOf((await revisionOf("z3")).digest.split(":").at(-1)).map((tree) => {
    const model = path.join(tree, "model.gguf"), { mode } = statSync(tree);
    chmodSync(tree, 0o755);
    renameSync(model, `${model}.away`);
    // What its template had in memory would do without the model.
    rmSync(path.join(tree, ".dormouse"), { recursive: true, force: true });
    return { tree, model, mode };
  });
  const began = Date.now();
  const answers = [];
  // Each start takes the blank worker that waits, and another one comes.
  const workers = new Set(platform.processes());
  const those = workers.size;
  try {
    while (Date.now() < began + 2500) {
      answers.push(...(await Promise.all(Array.from({ length: 10 }, () => complete("z3", "x")))));
      assert.equal((await platform.status("z3")).queued, 0);
      for (const pid of platform.processes()) workers.add(pid);
      await sleep(20);
    }
  } finally {
    for (const { tree, model, mode } of models) {
      renameSync(`${model}.away`, model);
      chmodSync(tree, mode);
    }
  }
  const most = triesWithin(Date.now() - began) + 1; // One may have been on its way.
  assert.match(await whyNotReady("z3"), /cannot be started: .*opening the model: No such file/);
  for (const answer of answers) {
    assert.ok(answer.status === 502 || answer.status === 503, `${answer.status} ${answer.text}`);
    assert.match(JSON.parse(answer.text).error.message, /opening the model: No such file/);
  }
  assert.ok(answers.length > 100, `${answers.length} calls`);
  const starts = workers.size - those;
  assert.ok(starts >= 1 && starts <= most, `${starts} starts, at most ${most} are due`);
  await eventually("it starts again", async () => (await complete("z3", "well")).status === 200, 20_000);
  assert.deepEqual(await readinessOf("z3"), ready("z3"));
});

test("Z3: of a model that crashes while it starts all who wait are told so, and it is not tried at once again", async () => {
  const flag = path.join(path.dirname(platform.attempts), "crash");
  await deployTalker("z3-crash", { env: { INIT_CRASH_IF: "/attempts/crash" }, keep_alive: "0ms", max_instances: 1 });
  await platform.asleep("z3-crash");
  writeFileSync(flag, "");
  chmodSync(flag, 0o666);
  const began = Date.now();
  const answers = [];
  while (Date.now() < began + 700) {
    answers.push(...(await Promise.all(Array.from({ length: 10 }, () => complete("z3-crash", "words 1")))));
    assert.equal((await platform.status("z3-crash")).queued, 0);
    await sleep(20);
  }
  const why = await whyNotReady("z3-crash");
  const starts = readFileSync(flag, "utf8").split("\n").length - 1;
  const most = triesWithin(Date.now() - began);
  rmSync(flag);
  assert.match(why, /cannot be started: it ended while starting/);
  for (const answer of answers) {
    assert.ok(answer.status === 502 || answer.status === 503, `${answer.status} ${answer.text}`);
    assert.match(JSON.parse(answer.text).error.message, /ended while starting.*SIG(ABRT|SEGV)/);
  }
  assert.ok(answers.length > 50, `${answers.length} calls`);
  assert.ok(starts >= 1 && starts <= most, `${starts} starts, at most ${most} are due`);
  await eventually("it starts again", async () => (await complete("z3-crash", "words 1")).status === 200, 20_000);
  assert.deepEqual(await readinessOf("z3-crash"), ready("z3-crash"));
});

test("Z4: a slow start within its limit is waited for, one beyond it is given up with a reason", async () => {
  const signal = (pids, name) => {
    for (const pid of pids) {
      try {
        process.kill(pid, name);
      } catch {} // It has gone.
    }
  };
  // A blank worker becomes the template; stopped, as others are that have nothing to do, it loads as
  // slowly as one likes.
  const stopBlanks = async () => {
    await eventually("a blank worker", async () => {
      const { text } = await platform.request("GET", "/metrics");
      return /dormouse_blank_sandboxes{runtime="llm"} [1-9]/.test(text);
    });
    const stopped = platform.processes();
    signal(stopped, "SIGSTOP");
    return stopped;
  };
  await deploy("z4", { ...restless, concurrency: 5, start_timeout: "20s" });
  await deploy("z4-late", { ...restless, start_timeout: "2s" });
  for (const name of ["z4", "z4-late"]) await platform.asleep(name);
  try {
    const stopped = await stopBlanks();
    const calls = Array.from({ length: 5 }, () => complete("z4", "late"));
    for (const began = Date.now(); Date.now() < began + 1500; await sleep(50)) {
      assert.deepEqual(await readinessOf("z4"), ready("z4")); // As while it sleeps: who calls is answered.
    }
    assert.equal((await platform.status("z4")).instances.starting, 1);
    signal(stopped, "SIGCONT");
    for (const answer of await Promise.all(calls)) assert.equal(answer.status, 200, answer.text);
    await platform.asleep("z4");
    await stopBlanks();
    const late = await complete("z4-late", "x");
    assert.equal(late.status, 502, late.text);
    assert.match(JSON.parse(late.text).error.message, /within its start_timeout/);
    assert.match(await whyNotReady("z4-late"), /cannot be started: .*within its start_timeout/);
  } finally {
    signal(platform.processes(), "SIGCONT");
  }
});
