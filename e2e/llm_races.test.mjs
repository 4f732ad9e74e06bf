// Groups M, O and Z for language models: files that change while they are deployed, what one function
// can learn of another by the clock, readers that do not read, starts that fail, or take long.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chmodSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync, readdirSync, renameSync, rmSync, statSync,
  writeFileSync, writeSync,
} from "node:fs";
import { createConnection } from "node:net";
import path from "node:path";
import { openLoop, triesWithin } from "./load.mjs";
import { Platform, eventually, repository, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
const llama = readFileSync(path.join(repository, "runtimes/llm/testdata/llama.gguf"));

let platform;
before(async () => {
  platform = await Platform.start();
});
after(() => platform.stop());

async function deploy(name, fields = {}) {
  const manifest = { name, runtime: "llm", model: "model.gguf", timeout: "2m", ...fields };
  const done = await platform.deploy(manifest, { "model.gguf": llama });
  assert.equal(done.code, 0, done.stderr);
}

const post = (target, fields, headers = {}) =>
  platform.request("POST", target, {
    body: JSON.stringify(fields),
    headers: { "content-type": "application/json", ...headers },
  });
const complete = (model, prompt, more = {}) =>
  post("/v1/completions", { model, prompt, max_tokens: 1, temperature: 0, ignore_eos: true, ...more });
const textOf = (answer) => JSON.parse(answer.text).choices[0].text;

const digestOf = (content) => createHash("sha256").update(content).digest("hex");

// The folder that is /code in a function's sandboxes; while it was tried out, it had another one.
function treeOf(digest) {
  const trees = path.join(platform.data, "blobs/trees");
  const named = readdirSync(trees).filter((each) => each.startsWith(digest));
  const complete = named.find((each) => existsSync(path.join(trees, each, ".dormouse")));
  return path.join(trees, complete ?? named[0]);
}
const revisionOf = async (name) => (await platform.json("show", name)).function.revision;

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
        assert.match(done.stderr, /changed|not what its digest says/, done.stderr);
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

// Welch's t of two samples, without their slowest tenth, which is the machine's.
function difference(left, right) {
  const facts = (values) => {
    const kept = values.toSorted((a, b) => a - b).slice(0, Math.ceil(values.length * 0.9));
    const mean = kept.reduce((sum, x) => sum + x, 0) / kept.length;
    const variance = kept.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (kept.length - 1);
    return { mean, error: variance / kept.length };
  };
  const [a, b] = [facts(left), facts(right)];
  return (a.mean - b.mean) / Math.sqrt(a.error + b.error);
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
  for (let i = 0; i < count; ++i) {
    const secret = 2 * i, other = 2 * i + 1;
    samples.anew.push(await timed("told", secret));
    samples.again.push(await timed("told", secret)); // The control: here it is known.
    const pair = [["known", secret], ["unknown", other]];
    for (const [what, which] of i % 2 ? pair : pair.reverse()) samples[what].push(await timed("asked", which));
  }
  const control = difference(samples.anew, samples.again);
  const across = difference(samples.unknown, samples.known);
  assert.ok(control > 4.5, `the control sees nothing: t = ${control}`);
  assert.ok(Math.abs(across) < 4.5, `t = ${across} across functions, ${control} within one`);
});

test("O5: readers that do not read cost little, and are cut; those that leave free their places", async () => {
  const readers = 8;
  await deploy("slow", { concurrency: 64, timeout: "8s" });
  // So much of each token that no answer fits into what the kernel holds of a connection.
  const ask = JSON.stringify({
    model: "slow", messages: [{ role: "user", content: "the moon" }], stream: true, max_tokens: 1900, ignore_eos: true,
    n: 2, logprobs: true, top_logprobs: 20,
  });
  assert.equal((await complete("slow", "up")).status, 200);
  const before = platform.memoryOfDaemon();
  const open = () => {
    const socket = createConnection(platform.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
        `Content-Length: ${ask.length}\r\n\r\n${ask}`,
    );
    socket.pause();
    return socket;
  };
  const slow = Array.from({ length: readers }, open);
  const running = async () => (await platform.status("slow")).running;
  await eventually("all are served", async () => (await running()) === readers);
  await sleep(3000);
  assert.equal(await running(), readers, "some have ended before their deadline");
  const grown = platform.memoryOfDaemon() - before;
  // A credit window each, and what else these calls take. Each answer has more than 4 MB.
  assert.ok(grown <= readers * (256 << 10) + (8 << 20), `the daemon has grown by ${grown} bytes`);
  assert.equal((await complete("slow", "beside")).status, 200);
  for (const socket of slow.slice(readers / 2)) socket.destroy();
  await eventually("who left is gone", async () => (await running()) <= readers / 2, 3000);
  await eventually("the others are cut", async () => (await running()) === 0, 20_000);
  for (const socket of slow) socket.destroy();
  assert.equal((await complete("slow", "after")).status, 200);
});

const restless = { keep_alive: "0ms", template_keep_alive: "0ms" };

test("Z2: from zero to many calls a second, none fails, and one start is enough", async () => {
  await deploy("z2", { keep_alive: "5s", concurrency: 64, max_instances: 1, queue: 5000 });
  await platform.asleep("z2");
  const wakes = async () => {
    const { wakes } = (await platform.json("show", "z2")).function;
    return wakes.reduce((sum, { count }) => sum + count, 0);
  };
  const before = await wakes();
  const answers = await openLoop(nightly ? 300 : 150, nightly ? 30 : 3, () => complete("z2", "one"));
  assert.deepEqual(answers.filter(({ status }) => status !== 200), []);
  assert.equal((await wakes()) - before, 1);
});

test("Z3: when a model is gone, all who wait are told why, and starts keep their distance", async () => {
  await deploy("z3", { ...restless, concurrency: 4, max_instances: 1 });
  assert.equal((await complete("z3", "up")).status, 200);
  await platform.asleep("z3");
  const tree = treeOf((await revisionOf("z3")).digest.split(":").at(-1));
  const model = path.join(tree, "model.gguf");
  const mode = statSync(tree).mode;
  chmodSync(tree, 0o755);
  renameSync(model, `${model}.away`);
  // What its template had in memory would do without the model.
  rmSync(path.join(tree, ".dormouse"), { recursive: true, force: true });
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
    renameSync(`${model}.away`, model);
    chmodSync(tree, mode);
  }
  const most = triesWithin(Date.now() - began) + 1; // One may have been on its way.
  for (const answer of answers) {
    assert.ok(answer.status === 502 || answer.status === 503, `${answer.status} ${answer.text}`);
    assert.match(JSON.parse(answer.text).error.message, /opening the model: No such file/);
  }
  assert.ok(answers.length > 100, `${answers.length} calls`);
  const starts = workers.size - those;
  assert.ok(starts >= 1 && starts <= most, `${starts} starts, at most ${most} are due`);
  await eventually("it starts again", async () => (await complete("z3", "well")).status === 200, 20_000);
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
  await deploy("z4-late", { ...restless, start_timeout: "3s" });
  for (const name of ["z4", "z4-late"]) await platform.asleep(name);
  try {
    const stopped = await stopBlanks();
    const calls = Array.from({ length: 5 }, () => complete("z4", "late"));
    await sleep(1500);
    assert.equal((await platform.status("z4")).instances.starting, 1);
    signal(stopped, "SIGCONT");
    for (const answer of await Promise.all(calls)) assert.equal(answer.status, 200, answer.text);
    await platform.asleep("z4");
    await stopBlanks();
    const late = await complete("z4-late", "x");
    assert.equal(late.status, 502, late.text);
    assert.match(JSON.parse(late.text).error.message, /within its start_timeout/);
  } finally {
    signal(platform.processes(), "SIGCONT");
  }
});
