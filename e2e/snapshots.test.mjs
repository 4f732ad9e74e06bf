// The memory of a model's template, on disk: what has slept for longer than its template is kept is
// woken from there, and not loaded anew. docs/formats/snapshot.md
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, readFileSync, readdirSync, renameSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
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

const isKept = (revision) => /^\d+ MiB, awake in \d+ ms instead of \d+ ms$/.test(revision.notes.snapshot);

async function deployOnce(name, { manifest, files }, mark) {
  const done = await platform.deploy({ name, ...manifest, ...keepsNothing, env: { MARK: mark } }, files);
  assert.equal(done.code, 0, done.stderr);
  const { revision } = (await platform.json("show", name)).function;
  if (!isKept(revision)) assert.match(revision.notes.snapshot, /^no: waking it takes/);
  return revision;
}

// A revision that has a snapshot. Models as small as these load nearly as soon as they are woken, and
// then there may be none.
async function deploy(name, what) {
  for (let tries = 1; ; ++tries) {
    const revision = await deployOnce(name, what, `${tries}`);
    if (isKept(revision)) return revision;
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
  for (let i = 0; i < 3; ++i) {
    const { text, rung } = await read("line");
    assert.equal(text, readFileSync(path.join(repository, "examples/read-text-line/sleeps.txt"), "utf8").trim());
    assert.equal(rung, "snapshot");
    await platform.asleep("line");
  }
  const { wakes } = (await platform.json("show", "line")).function;
  assert.deepEqual(wakes.map(({ rung, count }) => [rung, count]), [["snapshot", 3]]);
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
  const expected = (await goOn("chat")).text;
  const revision = await deploy("damaged", chat);
  await goOn("damaged"); // Lays its files out.
  const file = snapshotOf(revision.digest);
  await platform.asleep("damaged");
  // What lies in memory: none of it can go on, but that shows only once it has begun.
  const descriptor = openSync(file, "r+");
  const from = 64 << 10;
  writeSync(descriptor, Buffer.alloc(statSync(file).size - from), 0, undefined, from);
  closeSync(descriptor);
  const first = await goOn("damaged");
  assert.equal(first.text, expected);
  assert.notEqual(first.rung, "snapshot");
  assert.match(platform.log, /the snapshot of damaged was not woken/);
  await platform.asleep("damaged");
  truncateSync(file, 1000);
  const second = await goOn("damaged");
  assert.equal(second.text, expected);
  assert.notEqual(second.rung, "snapshot");
  // The same again is another one's snapshot, where there is need of it, and else nothing new.
  const theSame = () => deployOnce("damaged", chat, revision.manifest.env.MARK);
  const anew = await theSame();
  assert.equal(anew.number, revision.number + 1);
  assert.equal((await goOn("damaged")).rung === "snapshot", isKept(anew));
  assert.equal((await theSame()).number, anew.number);
});

// Python: only if the manifest asks for it.

const slow = `
import os, random, time, uuid
loaded = uuid.uuid4().hex
table = {str(i): list(range(i, i + 20)) for i in range(20_000)}
time.sleep(0.3)
def handler(event, context):
    right = all(table[str(i)][19] == i + 19 for i in range(0, 20_000, 97))
    return {"loaded": loaded, "right": right, "drawn": random.random(), "now": time.time(), "token": os.environ.get("TOKEN")}
`;
const python = { runtime: "python", handler: "app.handler", memory: "256MiB", ...keepsNothing };

async function setToken(value) {
  const file = path.join(platform.dir, "token");
  writeFileSync(file, value);
  const done = await platform.cli("secret", "set", "token", "--from-file", file);
  assert.equal(done.code, 0, done.stderr);
}

async function call(name) {
  const answer = await platform.invoke(name, "{}", { "content-type": "application/json" });
  assert.equal(answer.status, 200, answer.text);
  const { rung } = await platform.receiptOf(answer.headers["dormouse-invocation"]);
  return { ...JSON.parse(answer.text), rung };
}

test("Python that asks for it is woken with what it had loaded, and with its own chance, time and late secrets", async () => {
  await setToken("one");
  const done = await platform.deploy({ name: "py", ...python, snapshot: "on", secrets: { TOKEN: { secret: "token", when: "late" } } },
    { "app.py": slow });
  assert.equal(done.code, 0, done.stderr);
  assert.match((await platform.json("show", "py")).function.revision.notes.snapshot, /^\d+ MiB, awake in \d+ ms instead of \d+ ms$/);
  const said = [];
  for (const token of ["one", "two", "three"]) {
    await setToken(token);
    said.push(await call("py"));
    assert.equal(said.at(-1).token, token);
    await platform.asleep("py");
  }
  await platform.kill("SIGKILL");
  await platform.serve();
  said.push(await call("py"));
  for (const each of said) {
    assert.equal(each.rung, "snapshot");
    assert.equal(each.loaded, said[0].loaded);
    assert.ok(each.right);
    assert.ok(Math.abs(each.now - Date.now() / 1000) < 60);
  }
  assert.equal(new Set(said.map(({ drawn }) => drawn)).size, said.length);
});

test("Python that holds what cannot be saved says so, and serves", async () => {
  const holds = `import mmap\nshared = mmap.mmap(-1, 4096)\n${slow}`;
  const done = await platform.deploy({ name: "holds", ...python, snapshot: "on" }, { "app.py": holds });
  assert.equal(done.code, 0, done.stderr);
  assert.equal((await platform.json("show", "holds")).function.revision.notes.snapshot, "no: it has memory that it shares with others");
  assert.notEqual((await call("holds")).rung, "snapshot");
});

test("nothing is saved that was not to be", async () => {
  const notes = async (fields, files) => {
    const done = await platform.deploy({ name: "unsaved", ...fields }, files);
    assert.equal(done.code, 0, done.stderr);
    return (await platform.json("show", "unsaved")).function.revision.notes;
  };
  assert.equal((await notes(python, { "app.py": slow })).snapshot, undefined);
  assert.equal((await notes({ ...chat.manifest, snapshot: "off" }, chat.files)).snapshot, undefined);
  const refused = async (fields, why) => {
    const done = await platform.deploy({ name: "refused", ...python, snapshot: "on", ...fields }, { "app.py": slow });
    assert.equal(done.code, 2);
    assert.match(done.stderr, why);
  };
  await refused({ secrets: { TOKEN: { secret: "token", when: "init" } } }, /snapshot: on would write secrets to disk/);
  await refused({ runtime: "node", handler: "app.handler" }, /snapshot: on is for the runtimes onnx, llm and python, not for node/);
  await refused({ snapshot: "yes" }, /snapshot: .*`?auto`?, `?on`? or `?off/);
});
