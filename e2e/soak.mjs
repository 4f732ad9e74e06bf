// F3: an hour of what clients and owners do, right and wrong, and the daemon does not grow: less than
// 1 MiB an hour of memory, and no descriptor and no thread more. Run by scripts/nightly.
//
//   node e2e/soak.mjs [MINUTES]
//
// Each minute everything falls asleep once, and is counted then; what is said of growth is the line
// through those counts, without the first third, in which caches fill.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, repository, sleep } from "./platform.mjs";

const minutes = Number(process.argv[2] ?? 60);
const perSecond = 25;
const least = { minutes: 9, bytes: 256 << 10 }; // What so few counts scatter by says nothing.
assert.ok(minutes >= least.minutes, `at least ${least.minutes} minutes, to see anything`);

const platform = await Platform.start({ onnxBlanks: 1 });
const short = { keep_alive: "500ms", template_keep_alive: "2s" };

async function deploy(manifest, files) {
  const done = await platform.deploy({ memory: "256MiB", ...short, ...manifest }, files);
  assert.equal(done.code, 0, done.stderr);
}

async function setSecret(value) {
  const file = path.join(platform.dir, "secret");
  writeFileSync(file, value);
  assert.equal((await platform.cli("secret", "set", "KEY", "--from-file", file)).code, 0);
}

const versioned = (version) =>
  deploy(
    { name: "python", runtime: "python", handler: "app.handler", env: { VERSION: version }, secrets: { KEY: "late" } },
    { "app.py": "import os\ndef handler(event, context):\n    print(event)\n    return {'a': event, 'b': os.environ['VERSION']}\n" },
  );

const model = (from, name) => readFileSync(path.join(repository, from, name));
async function deployAll() {
  await setSecret("0");
  await versioned("0");
  await deploy(
    { name: "node", runtime: "node", handler: "app.handler" },
    { "app.mjs": "export const handler = async (event) => { if (event.fails) throw new Error('asked'); return event; };\n" },
  );
  await deploy(
    { name: "web", runtime: "web", command: ["node", "app.mjs"], concurrency: 8 },
    { "app.mjs": "import http from 'node:http';\nhttp.createServer((q, a) => q.pipe(a)).listen(process.env.PORT);\n" },
  );
  await deploy({ name: "tensors", runtime: "onnx", model: "matmul.onnx" }, { "matmul.onnx": model("runtimes/onnx/testdata", "matmul.onnx") });
  await deploy(
    { name: "talk", runtime: "llm", model: "llama.gguf", memory: "512MiB", concurrency: 4 },
    { "llama.gguf": model("runtimes/llm/testdata", "llama.gguf") },
  );
}

// ---- what clients do ----

const json = { "content-type": "application/json" };
const post = (target, body, headers = json, more = {}) => platform.request("POST", target, { body, headers, ...more });
const say = (more) => JSON.stringify({ model: "talk", messages: [{ role: "user", content: "Hello" }], max_tokens: 8, ...more });

async function leaveAStream() {
  const leaving = new AbortController();
  setTimeout(() => leaving.abort(), 30);
  await post("/v1/chat/completions", say({ stream: true, max_tokens: 500 }), json, { signal: leaving.signal }).catch(() => {});
  return 0;
}

const status = (answer) => answer.then(({ status }) => status);
let turn = 0;
const calls = [
  [200, () => status(post("/f/python", `{"turn": ${++turn}}`))],
  [200, () => status(post("/f/node", "{}"))],
  [502, () => status(post("/f/node", '{"fails": true}'))],
  [200, () => status(post("/f/web/any/path", "x".repeat(100_000), {}))],
  [200, () => status(post("/v2/models/tensors/infer", tensors))],
  [400, () => status(post("/v2/models/tensors/infer", '{"inputs": []}'))],
  [200, () => status(post("/v1/chat/completions", say({})))],
  [200, () => status(post("/v1/chat/completions", say({ stream: true })))],
  [200, () => status(post("/v1/chat/completions", say({ conversation: `c${turn % 20}` })))],
  [400, () => status(post("/v1/chat/completions", say({ max_tokens: -1 })))],
  [0, leaveAStream],
  [404, () => status(post("/f/nobody", "{}"))],
  [413, () => status(post("/f/python", "x".repeat(17 << 20)))],
];
const tensors = JSON.stringify({ inputs: [{ name: "x", shape: [1, 4], datatype: "FP32", data: [1, 2, 3, 4] }] });

const done = {};
async function call() {
  const [wanted, how] = calls[Math.floor(Math.random() * (Math.random() < 0.02 ? calls.length : calls.length - 1))];
  const got = await how();
  assert.equal(got, wanted, how.toString());
  done[got] = (done[got] ?? 0) + 1;
}

// ---- what owners do ----

let version = 0;
async function own() {
  await versioned(String(++version % 1000));
  const { revisions } = await platform.json("revisions", "python");
  for (const { number, revision } of revisions.slice(3)) {
    const old = String(number ?? revision);
    assert.equal((await platform.cli("delete", "python", "--revision", old)).code, 0);
  }
  await setSecret(String(version));
  for (const words of [["usage", "--by", "function"], ["show", "talk"], ["logs", "python", "-n", "5"], ["list"], ["doctor"]]) {
    assert.equal((await platform.cli(...words)).code, 0, words.join(" "));
  }
  assert.equal((await platform.request("GET", "/metrics")).status, 200);
}

// ---- what is counted ----

async function count() {
  for (const { name } of (await platform.json("list")).functions) {
    await eventually(`${name} is asleep`, async () => {
      const { instances, memory_bytes: bytes } = await platform.status(name);
      return bytes === 0 && Object.values(instances).every((each) => each === 0);
    }, 60_000);
  }
  for (const runtime of ["python", "node", "web", "onnx", "llm"]) await platform.blanksWait(runtime);
  const descriptors = await platform.descriptorsOfDaemon();
  const status = readFileSync(`/proc/${platform.daemonPid()}/status`, "utf8");
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)[1]);
  return { bytes: field("RssAnon") << 10, descriptors, threads: field("Threads") };
}

// Of the line through so many counts, a minute apart, by least squares.
function slope(values) {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  const [above, below] = values.reduce(([a, b], each, at) => [a + (at - middle) * (each - mean), b + (at - middle) ** 2], [0, 0]);
  return above / below;
}

assert.equal(slope([5, 7, 9, 11]), 2);

async function soakForAMinute() {
  const began = Date.now();
  const owning = own();
  const running = new Set();
  while (Date.now() - began < 45_000) {
    const it = call().finally(() => running.delete(it));
    running.add(it);
    await sleep(1000 / perSecond);
    if (running.size > 100) await Promise.race(running);
  }
  await Promise.all([owning, ...running]);
}

await deployAll();
const counts = [];
for (let minute = 1; minute <= minutes; ++minute) {
  await soakForAMinute();
  counts.push(await count());
  const { bytes, descriptors, threads } = counts.at(-1);
  console.log(`${minute} of ${minutes}: ${(bytes / 2 ** 20).toFixed(2)} MiB, ${descriptors} descriptors, ${threads} threads, answered ${JSON.stringify(done)}`);
}
const settled = counts.slice(Math.ceil(counts.length / 3));
const grown = (what) => slope(settled.map((each) => each[what])) * 60;
const spread = Math.max(...settled.map(({ bytes }) => bytes)) - Math.min(...settled.map(({ bytes }) => bytes));
console.log(`an hour: ${(grown("bytes") / 2 ** 20).toFixed(3)} MiB, ${grown("descriptors").toFixed(2)} descriptors, ${grown("threads").toFixed(2)} threads`);
assert.ok(grown("bytes") < 1 << 20 || spread < least.bytes, "its memory grows");
assert.ok(grown("descriptors") < 1, "its descriptors grow");
assert.ok(grown("threads") < 1, "its threads grow");
await platform.stop();
console.log("soak: passed");
