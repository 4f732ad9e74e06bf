// The memory of a model's template, on disk: what has slept for longer than its template is kept is
// woken from there, and not loaded anew. docs/formats/snapshot.md
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, readFileSync, readdirSync, renameSync, statSync, truncateSync, writeSync } from "node:fs";
import path from "node:path";
import { Platform, repository } from "./platform.mjs";

const deps = process.env.DORMOUSE_DEPS ?? path.join(repository, ".deps");
const textLine = {
  manifest: { runtime: "onnx", model: "model.onnx", memory: "256MiB", task: "text-line", task_options: { keys: "keys.txt" } },
  files: { "model.onnx": readFileSync(path.join(deps, "text-line/model.onnx")),
           "keys.txt": readFileSync(path.join(deps, "text-line/keys.txt")) },
};
const chat = {
  manifest: { runtime: "llm", model: "model.gguf", timeout: "2m" },
  files: { "model.gguf": readFileSync(path.join(repository, "runtimes/llm/testdata/llama.gguf")) },
};
const picture = readFileSync(path.join(repository, "examples/read-text-line/sleeps.png"));
const keepsNothing = { keep_alive: "0ms", template_keep_alive: "0ms" };

let platform;
before(async () => (platform = await Platform.start({ onnxBlanks: 1 })));
after(() => platform.stop());

// A revision that has a snapshot. Models as small as these load nearly as soon as they are woken, and
// then there may be none.
async function deploy(name, { manifest, files }) {
  for (let tries = 1; ; ++tries) {
    const done = await platform.deploy({ name, ...manifest, ...keepsNothing, env: { TRY: `${tries}` } }, files);
    assert.equal(done.code, 0, done.stderr);
    const { revision } = (await platform.json("show", name)).function;
    if (/^\d+ MiB, awake in \d+ ms instead of \d+ ms$/.test(revision.notes.snapshot)) return revision;
    assert.match(revision.notes.snapshot, /^no: waking it takes/);
    assert.ok(tries < 5, revision.notes.snapshot);
  }
}

async function read(name) {
  const answer = await platform.invoke(name, picture, { "content-type": "image/png" });
  assert.equal(answer.status, 200, answer.text);
  const { rung, wake } = await platform.receiptOf(answer.headers["dormouse-invocation"]);
  return { text: JSON.parse(answer.text).text, rung, wake };
}

async function goOn(name) {
  const body = JSON.stringify({ model: name, prompt: "the moon", max_tokens: 12, temperature: 0, ignore_eos: true });
  const answer = await platform.request("POST", "/v1/completions", { body, headers: { "content-type": "application/json" } });
  assert.equal(answer.status, 200, answer.text);
  const { rung } = await platform.receiptOf(answer.headers["dormouse-invocation"]);
  return { text: JSON.parse(answer.text).choices[0].text, rung };
}

function snapshotOf(digest) {
  const trees = path.join(platform.data, "blobs/trees");
  const named = readdirSync(trees).filter((each) => each.startsWith(digest.split(":").at(-1)));
  return named.map((each) => path.join(trees, each, ".dormouse/snapshot")).find(existsSync);
}

test("a model that fell asleep is woken from its snapshot, time and again, and says the same", async () => {
  await deploy("line", textLine);
  for (let i = 0; i < 5; ++i) {
    const { text, rung } = await read("line");
    assert.equal(text, readFileSync(path.join(repository, "examples/read-text-line/sleeps.txt"), "utf8").trim());
    assert.equal(rung, "snapshot");
    await platform.asleep("line");
  }
  const { wakes } = (await platform.json("show", "line")).function;
  assert.deepEqual(wakes.map(({ rung, count }) => [rung, count]), [["snapshot", 5]]);
});

test("many calls at once share one template that was woken", async () => {
  await platform.asleep("line");
  const answers = await Promise.all(Array.from({ length: 12 }, () => read("line")));
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
});

test("a language model goes on as one that was loaded does", async () => {
  const { digest } = await deploy("chat", chat);
  await goOn("chat"); // Lays its files out.
  await platform.asleep("chat");
  const file = snapshotOf(digest);
  renameSync(file, `${file}.away`);
  const expected = await goOn("chat");
  assert.notEqual(expected.rung, "snapshot");
  await platform.asleep("chat");
  renameSync(`${file}.away`, file);
  for (let i = 0; i < 3; ++i) {
    const said = await goOn("chat");
    assert.equal(said.rung, "snapshot");
    assert.equal(said.text, expected.text);
    await platform.asleep("chat");
  }
});

test("it outlives the platform's end, however that comes", async () => {
  await platform.asleep("line");
  await platform.kill("SIGKILL");
  await platform.serve();
  assert.equal((await read("line")).rung, "snapshot");
});

test("a snapshot that was damaged costs one load of the model, and no call", async () => {
  const expected = (await read("line")).text;
  const revision = await deploy("damaged", textLine);
  await read("damaged"); // Lays its files out.
  const file = snapshotOf(revision.digest);
  await platform.asleep("damaged");
  // What lies in memory: none of it can go on, but that shows only once it has begun.
  const descriptor = openSync(file, "r+");
  const from = 1 << 20;
  writeSync(descriptor, Buffer.alloc(statSync(file).size - from), 0, undefined, from);
  closeSync(descriptor);
  const first = await read("damaged");
  assert.equal(first.text, expected);
  assert.notEqual(first.rung, "snapshot");
  assert.match(platform.log, /the snapshot of damaged was not woken/);
  await platform.asleep("damaged");
  truncateSync(file, 1000);
  const second = await read("damaged");
  assert.equal(second.text, expected);
  assert.notEqual(second.rung, "snapshot");
  // The same again is another one's snapshot, where there is need of it, and else nothing new.
  const anew = await deploy("damaged", textLine);
  assert.equal(anew.number, revision.number + 1);
  assert.equal((await read("damaged")).rung, "snapshot");
  assert.equal((await deploy("damaged", textLine)).number, anew.number);
});
