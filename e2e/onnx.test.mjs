// A model's template: the session is made once, and every instance is a fork of it.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, repository } from "./platform.mjs";

const testdata = path.join(repository, "runtimes/onnx/testdata");
let platform;
before(async () => (platform = await Platform.start({ onnxBlanks: 1 })));
after(() => platform.stop());

async function deploy(name, fields = {}) {
  const manifest = { name, runtime: "onnx", model: "matmul.onnx", memory: "128MiB", ...fields };
  const done = await platform.deploy(manifest, {
    "matmul.onnx": readFileSync(path.join(testdata, "matmul.onnx")),
  });
  assert.equal(done.code, 0, done.stderr);
  return (await platform.json("show", name)).function.revision;
}

async function infer(name) {
  const answer = await platform.invoke(name, JSON.stringify({ x: [[1, 0, 0, 1]] }), {
    "Content-Type": "application/json",
  });
  assert.equal(answer.status, 200, answer.text);
  return { ...answer, said: JSON.parse(answer.text) };
}

const state = async (name) => (await platform.status(name)).state;
const sleeps = (name) =>
  eventually(`${name} has its template only`, async () => (await state(name)) === "template");

test("an instance is a fork of the loaded session, and answers the same", async () => {
  const revision = await deploy("forked", { keep_alive: "0ms" });
  assert.equal(revision.notes.template, "yes");
  const first = await infer("forked");
  for (let i = 0; i < 20; ++i) {
    await sleeps("forked");
    const { said, headers } = await infer("forked");
    assert.deepEqual(said, first.said);
    assert.match(headers["server-timing"], /wake-code;dur=0.000/);
  }
});

test("what was optimised is known by its model's digest, named in the manifest or not", async () => {
  const model = readFileSync(path.join(testdata, "mlp.onnx"));
  const digest = createHash("sha256").update(model).digest("hex");
  for (const [name, fields, file] of [["named", { model: "mlp.onnx" }, "mlp.onnx"], ["unnamed", {}, "model.onnx"]]) {
    const done = await platform.deploy({ name, runtime: "onnx", memory: "128MiB", ...fields }, { [file]: model });
    assert.equal(done.code, 0, done.stderr);
    const { notes } = (await platform.json("show", name)).function.revision;
    assert.ok(notes["optimised.key"].startsWith(`sha256:${digest} onnxruntime-`), notes["optimised.key"]);
  }
});

test("show says what waking took, and where the memory lies", async () => {
  // There is one again a moment after a wake took it.
  const ask = async () => (await platform.json("show", "forked")).function;
  await eventually("a fork that waits", async () => (await ask()).instance !== undefined);
  const shown = await ask();
  const from = shown.wakes.find(({ rung }) => rung === "template");
  assert.equal(from.count, 20);
  assert.ok(from.median_ms > 0);
  assert.ok(shown.template.anonymous_bytes > shown.instance.own_bytes);
  assert.ok(shown.instance.own_bytes > 4096);
  const { stdout } = await platform.cli("show", "forked");
  assert.match(stdout, /^woken from template .* ms, median of the last; 20 in all$/m);
  assert.match(stdout, /^template .* % in huge pages$/m);
  assert.match(stdout, /^instance .* of its own$/m);
});

test("what it does not take is told what it takes, and how curl sends that", async () => {
  const type = "application/x-www-form-urlencoded"; // As curl does if it is not told otherwise.
  const refused = await platform.invoke("forked", '{"x": [[1, 0, 0, 1]]}', { "Content-Type": type });
  assert.equal(refused.status, 415, refused.text);
  assert.equal(
    JSON.parse(refused.text).error.message,
    `this function takes application/json or application/x-npy, not "${type}"; ` +
      "curl: -H 'Content-Type: application/json'",
  );
});

test("many at once are as many forks, and all answer", async () => {
  await deploy("burst", { keep_alive: "0ms", max_instances: 40 });
  const first = await infer("burst");
  await sleeps("burst");
  const answers = await Promise.all(Array.from({ length: 40 }, () => infer("burst")));
  for (const { said } of answers) assert.deepEqual(said, first.said);
});

test("K1: a model that draws random numbers is not forked, and no two instances draw the same", async () => {
  const manifest = { name: "random", runtime: "onnx", model: "random.onnx", memory: "128MiB", reuse: "clean" };
  const done = await platform.deploy(manifest, { "random.onnx": readFileSync(path.join(testdata, "random.onnx")) });
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", "random")).function.revision;
  assert.equal(notes.template, "no: its RandomUniformLike draws random numbers, and all its forks would draw the same");
  const draw = async () => {
    const answer = await platform.invoke("random", JSON.stringify({ x: Array(1000).fill(1) }), {
      "Content-Type": "application/json" });
    assert.equal(answer.status, 200, answer.text);
    return answer.text;
  };
  const drawn = await Promise.all(Array.from({ length: 6 }, draw));
  assert.equal(new Set(drawn).size, drawn.length);
});

test("a session with threads of its own is not forked, and says why", async () => {
  const { notes } = await deploy("threads", { threads: 2, keep_alive: "0ms" });
  assert.match(notes.template, /^no: its session has 2 threads/);
  const first = await infer("threads");
  await eventually("asleep", async () => (await state("threads")) === "asleep");
  assert.deepEqual((await infer("threads")).said, first.said);
});

test("a fork has no capability, a uid of its own and one thread", async () => {
  await deploy("walls", { keep_alive: "1m" });
  await infer("walls");
  const forks = platform.forks().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, "utf8") === "worker\n";
    } catch {
      return false; // It ended meanwhile: of another function, which has no keep-alive.
    }
  });
  assert.ok(forks.length > 0);
  for (const pid of forks) {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    for (const line of [/^CapEff:\t0+$/m, /^CapPrm:\t0+$/m, /^NoNewPrivs:\t1$/m, /^Seccomp:\t2$/m, /^Threads:\t1$/m]) {
      assert.match(status, line);
    }
  }
});
