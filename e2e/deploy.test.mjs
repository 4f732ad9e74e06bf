// Deploys: what goes well serves, what does not leaves all as it was, and nothing is sent twice.
// M8, D5.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Platform, eventually, repository } from "./platform.mjs";

const testdata = path.join(repository, "runtimes/onnx/testdata");
let platform;
before(async () => (platform = await Platform.start({ onnxBlanks: 1 })));
after(() => platform.stop());

const call = (name, body, type = "application/json", more = {}) =>
  platform.request("POST", `/f/${name}`, { body, headers: { "content-type": type, ...more } });
const ones = JSON.stringify({ x: [[1, 1, 1, 1]] });
const answer = { y: [[12, 16]], z: [[-12, -16]] };

function folder(manifest, model) {
  const dir = mkdtempSync(path.join(platform.dir, "deploy-"));
  writeFileSync(path.join(dir, "dormouse.yaml"), manifest);
  if (model) copyFileSync(path.join(testdata, model), path.join(dir, "model.onnx"));
  return dir;
}

test("a model file is an endpoint: nested JSON in and out, npy", async () => {
  const { code, stdout, stderr } = await platform.cli("deploy", path.join(testdata, "matmul.onnx"));
  assert.equal(code, 0, stderr);
  assert.match(stdout + stderr, /matmul/);
  const { status, text, headers } = await call("matmul", ones);
  assert.equal(status, 200, text);
  assert.match(headers["content-type"], /^application\/json/);
  assert.deepEqual(JSON.parse(text), answer);
  assert.deepEqual(JSON.parse((await call("matmul", "[[1,1,1,1]]")).text), answer);
  for (const [wrong, said] of [
    ['{"nothing":1}', /no input "nothing"; there are "x"/],
    ["{}", /"x" is missing/],
    ["[[1,1,1]]", /wants the shape \[1, 4\]/],
    ['{"x":[[1,1,1],[1]]}', /different lengths/],
    ["{", /./],
  ]) {
    const bad = await call("matmul", wrong);
    assert.equal(bad.status, 400, wrong);
    const { error } = JSON.parse(bad.text);
    assert.equal(error.blame, "caller");
    assert.match(error.message, said);
  }
  const described =
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }".padEnd(117) + "\n";
  const npy = Buffer.concat([
    Buffer.from("\x93NUMPY\x01\x00v\x00", "latin1"),
    Buffer.from(described),
    Buffer.from(new Float32Array([1, 1, 1, 1]).buffer),
  ]);
  const refused = await call("matmul", npy, "application/x-npy");
  assert.equal(refused.status, 415, refused.text);
  assert.match(refused.text, /an npy answer is one array, the model gives 2 outputs/);
});

test("a deploy that fails leaves the old revision serving, and says why", async () => {
  const broken = folder("name: matmul\nruntime: onnx\nmodel: model.onnx\n");
  writeFileSync(path.join(broken, "model.onnx"), "this is no model");
  const failed = await platform.cli("deploy", broken);
  assert.equal(failed.code, 6, failed.stderr);
  assert.match(failed.stderr, /not a well-formed ONNX file/);
  assert.equal((await platform.json("revisions", "matmul")).revisions.length, 1);
  assert.deepEqual(JSON.parse((await call("matmul", ones)).text), answer);
  await platform.deployProbe("probe");
  for (const [env, said] of [
    [{ INIT_FAIL: "the weights are gone" }, /the weights are gone/],
    [{ INIT_CRASH: "1" }, /SIG(ABRT|SEGV)/],
    [{ INIT_SLEEP: "5000" }, /start_timeout/],
  ]) {
    const { code, stderr } = await platform.deploy({
      name: "probe",
      runtime: "probe",
      memory: "64MiB",
      start_timeout: "1s",
      env,
    });
    assert.equal(code, 1, stderr);
    assert.match(stderr, said);
    assert.equal((await platform.invoke("probe", "echo old")).text, "old");
    assert.equal((await platform.status("probe")).revision, 1);
  }
});

test("the same again changes nothing; another serves, and can be rolled back", async () => {
  const again = await platform.cli("deploy", path.join(testdata, "matmul.onnx"));
  assert.equal(again.code, 0, again.stderr);
  const revisions = async () => (await platform.json("revisions", "matmul")).revisions;
  assert.equal((await revisions()).length, 1);
  const other = folder("name: matmul\nruntime: onnx\nmodel: model.onnx\n", "mlp.onnx");
  const second = await platform.cli("deploy", other);
  assert.equal(second.code, 0, second.stderr);
  assert.equal((await platform.status("matmul")).revision, 2);
  assert.equal((await call("matmul", ones)).status, 400);
  assert.equal((await platform.cli("rollback", "matmul")).code, 0);
  assert.equal((await platform.status("matmul")).revision, 1);
  assert.deepEqual(JSON.parse((await call("matmul", ones)).text), answer);
  const none = await platform.cli("rollback", "matmul", "9");
  assert.equal(none.code, 5);
  assert.equal((await revisions()).length, 2);
});

const blobs = () =>
  Number(execFileSync("du", ["-sk", path.join(platform.data, "blobs")]).toString().split("\t")[0]);

test("what is removed gives its disk back while the daemon runs, one revision or all", async () => {
  const before = blobs();
  for (const text of ["1", "2"]) {
    const dir = folder("name: fat\nruntime: probe\n");
    writeFileSync(path.join(dir, "fat.bin"), Buffer.alloc(8 << 20, text));
    const deployed = await platform.cli("deploy", dir);
    assert.equal(deployed.code, 0, deployed.stderr);
    assert.equal((await platform.invoke("fat", "echo there")).text, "there");
  }
  assert.ok(blobs() >= before + (16 << 10));
  assert.equal((await platform.cli("delete", "fat", "--revision", "2")).code, 6);
  assert.equal((await platform.cli("delete", "fat", "--revision", "1")).code, 0);
  await eventually("one is gone", () => blobs() < before + (9 << 10));
  assert.equal((await platform.invoke("fat", "echo still")).text, "still");
  // While a call runs, its files stay.
  const running = platform.invoke("fat", "sleep 3000");
  await eventually("it runs", async () => (await platform.status("fat")).running === 1);
  assert.equal((await platform.cli("delete", "fat")).code, 0);
  assert.ok(blobs() >= before + (8 << 10));
  assert.equal((await running).status, 200);
  await eventually("both are gone", () => blobs() < before + (1 << 10));
  const again = folder("name: fat\nruntime: probe\n");
  writeFileSync(path.join(again, "fat.bin"), Buffer.alloc(8 << 20, "2"));
  assert.equal((await platform.cli("deploy", again)).code, 0);
  assert.equal((await platform.invoke("fat", "echo back")).text, "back");
});

test("a rollback and a removal end a deploy that takes long", async () => {
  const slow = (name) => {
    const dir = folder(`name: ${name}\nruntime: python\nhandler: app.handler\n`);
    writeFileSync(path.join(dir, "app.py"), "import time\ntime.sleep(50)\nhandler = print\n");
    return platform.cli("deploy", dir);
  };
  await platform.deployProbe("kept");
  await platform.deployProbe("kept", { env: { REVISION: "2" } });
  const deploys = [slow("kept"), slow("new")];
  const isTried = async () => {
    const headers = { authorization: "AWS4-HMAC-SHA256 of anybody" };
    const target = "/2015-03-31/functions/kept/configuration";
    return /InProgress/.test((await platform.request("GET", target, { headers })).text);
  };
  await eventually("it is tried out", isTried);
  assert.equal((await platform.cli("rollback", "kept")).code, 0);
  const removed = async () => (await platform.cli("delete", "new")).code === 0;
  await eventually("the first one of a function is ended, too", removed);
  for (const [by, ended] of [["rollback", await deploys[0]], ["removal", await deploys[1]]]) {
    assert.equal(ended.code, 6, ended.stderr);
    assert.match(ended.stderr, new RegExp(`it was ended by a ${by}`));
  }
  assert.equal((await platform.status("kept")).revision, 1);
});

test("under load a new revision takes over without one failed call", async () => {
  await platform.deployProbe("moves", { concurrency: 4 });
  await platform.invoke("moves", "echo up");
  let stop = false;
  let answered = 0;
  const client = async () => {
    for (; !stop; ++answered) {
      const { status, text } = await platform.invoke("moves", "sleep 5");
      assert.equal(status, 200, text);
    }
  };
  const clients = Array.from({ length: 4 }, client);
  for (let revision = 2; revision <= 4; ++revision) {
    await platform.deployProbe("moves", { concurrency: 4, env: { REVISION: String(revision) } });
    assert.equal((await platform.status("moves")).revision, revision);
  }
  await platform.cli("rollback", "moves");
  await eventually("calls enough", () => answered > 50);
  stop = true;
  await Promise.all(clients);
});

test("a manifest's mistakes are named, with what was meant", async () => {
  for (const [manifest, said] of [
    ["name: typo\nruntime: onnx\nmemroy: 1GiB\n", /memroy.*memory/s],
    ["name: typo\nruntime: onxx\nmodel: model.onnx\n", /onxx.*onnx/s],
    ["name: Typo!\nruntime: probe\n", /name/],
    ["name: typo\nruntime: probe\nmemory: lots\n", /memory.*lots/s],
    ["name: typo\nruntime: probe\nmemory: 4TiB\n", /memory: an instance is to have 4194304 MiB, and all of this node/],
    ["name: typo\nruntime: probe\nconcurrency: 0\n", /concurrency/],
    ["name: [typo\n", /dormouse\.yaml/],
  ]) {
    const { code, stderr } = await platform.cli("deploy", folder(manifest));
    assert.notEqual(code, 0, manifest);
    assert.match(stderr, said);
  }
  assert.equal(await platform.status("typo"), undefined);
});

const put = (target, body) =>
  platform.request("PUT", target, {
    body,
    headers: { "content-type": "application/octet-stream" },
  });
const digestOf = (content) => "sha256:" + createHash("sha256").update(content).digest("hex");

test("M8: digests are digests", async () => {
  const hex = "a".repeat(64);
  const wrong = ["sha256:..%2f..", "sha256:../..", "sha256:../../etc/passwd", `sha256:${"A".repeat(64)}`];
  wrong.push("sha256:ab", `md5:${hex}`, hex, `sha256:${hex}0`, `sha256:${hex.slice(1)}g`, `SHA256:${hex}`);
  wrong.push(`sha256:${hex}\0`, `sha256:${hex.slice(1)}\0`, `\0sha256:${hex}`, `sha256:${hex.slice(2)}ä`);
  wrong.push(`sha256: ${hex.slice(1)}`, ` sha256:${hex}`, `sha256:${hex}\n`, `sha256:${hex.slice(1)}а`);
  wrong.push(`sha512:${hex}${hex}`, "sha256:", ":", "", `sha256:${hex}/`, `sha256:.${hex.slice(1)}`);
  for (let i = 0; i < 64; ++i) wrong.push(`sha256:${hex.slice(0, i)}${"G-_.Z@~!"[i % 8]}${hex.slice(i + 1)}`);
  for (let size = 1; size < 64; size += 3) wrong.push(`sha256:${"0".repeat(size)}`);
  assert.ok(wrong.length >= 100);
  const post = (target, document) =>
    platform.request("POST", target, {
      body: JSON.stringify(document),
      headers: { "content-type": "application/json" },
    });
  const isRefused = async (answer, where) => {
    const { status, text } = await answer;
    assert.equal(status, 400, `${where}: ${status} ${text}`);
    assert.match(JSON.parse(text).error.message, /digest/, where);
  };
  const manifest = { name: "digests", runtime: "probe" };
  for (const bad of wrong) {
    const shown = JSON.stringify(bad);
    await isRefused(post("/api/v1/blobs/missing", { digests: [bad] }), `missing ${shown}`);
    const files = [{ path: "file", digest: bad, size: 1 }];
    await isRefused(post("/api/v1/functions/digests/revisions", { manifest, files }), `deploy ${shown}`);
    // As it is, which a client may not send; and with every byte escaped, which is the same to us.
    const escaped = [...Buffer.from(bad)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
    for (const target of [bad, escaped].filter((each) => /^[!-~]*$/.test(each))) {
      const answer = await platform.raw(
        `PUT /api/v1/blobs/${target}?offset=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n` +
          `Content-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\nx`,
      );
      const isAnotherPath = target === "" || target.endsWith("/"); // Where nothing is.
      assert.match(answer, isAnotherPath ? /^HTTP\/1\.1 404 / : /^HTTP\/1\.1 400 /, JSON.stringify(target));
    }
  }
  assert.equal(await platform.status("digests"), undefined);
});

test("an upload goes on where it stood, though the daemon was killed meanwhile", async () => {
  const content = Buffer.alloc(300_000, 7);
  const digest = digestOf(content);
  const first = await put(`/api/v1/blobs/${digest}?offset=0`, content.subarray(0, 100_000));
  assert.deepEqual(JSON.parse(first.text), { uploaded: 100_000 });
  await platform.kill("SIGKILL");
  await platform.serve();
  const missing = await platform.request("POST", "/api/v1/blobs/missing", {
    body: JSON.stringify({ digests: [digest] }),
    headers: { "content-type": "application/json" },
  });
  assert.match(missing.text, /100000/);
  assert.equal(
    (await put(`/api/v1/blobs/${digest}?offset=0`, content.subarray(0, 10))).status,
    409,
  );
  const last = await put(
    `/api/v1/blobs/${digest}?offset=100000&last=true`,
    content.subarray(100_000),
  );
  assert.equal(last.status, 200, last.text);
  assert.equal(
    (await put(`/api/v1/blobs/${digestOf("other")}?offset=0&last=true`, "not it")).status,
    400,
  );
});

test("what others left of an upload, too much or wrong, keeps nobody from deploying", async () => {
  const model = readFileSync(path.join(testdata, "matmul.onnx"));
  for (const [name, left] of [["more", model.length + 21], ["as-much", model.length], ["less", 5]]) {
    const content = Buffer.concat([model, Buffer.from([0xa0, 0x06, name.length])]); // A field of no meaning.
    const dir = folder(`name: ${name}\nruntime: onnx\nmodel: model.onnx\n`);
    writeFileSync(path.join(dir, "model.onnx"), content);
    const leftOver = await put(`/api/v1/blobs/${digestOf(content)}?offset=0`, Buffer.alloc(left, 1));
    assert.equal(leftOver.status, 200, leftOver.text);
    const { code, stderr } = await platform.cli("deploy", dir);
    assert.equal(code, 0, stderr);
  }
});

test("D5: a sync that fails at any point of a deploy loses and invents nothing", async () => {
  const points = process.env.DORMOUSE_NIGHTLY ? 24 : 6;
  const model = (revision) => ({
    name: "eio",
    runtime: "probe",
    memory: "64MiB",
    env: { REVISION: revision },
  });
  const outcomes = new Set();
  for (let k = 1; k <= points; ++k) {
    const eio = await Platform.start();
    assert.equal((await eio.deploy(model("one"), { file: "one" })).code, 0);
    await eio.kill("SIGTERM");
    const calls = "fsync,fdatasync";
    eio.options.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", `trace=${calls}`];
    eio.options.prefix.push("-e", `inject=${calls}:error=EIO:when=${k}+`);
    const started = await eio.serve().then(
      () => true,
      () => false,
    );
    let acknowledged = false;
    if (started) {
      acknowledged = (await eio.deploy(model("two"), { file: "two" })).code === 0;
      if (eio.daemonPid()) await eio.kill("SIGKILL");
    }
    eio.process.ref();
    await eio.exited;
    eio.options.prefix = [];
    await eio.serve();
    const { revision } = await eio.status("eio");
    outcomes.add(`${started} ${acknowledged}`);
    if (acknowledged) assert.equal(revision, 2, `at sync ${k}: what was acknowledged is gone`);
    assert.equal((await eio.invoke("eio", "echo there")).text, "there");
    // Told again, it is done once.
    assert.equal((await eio.deploy(model("two"), { file: "two" })).code, 0);
    assert.equal((await eio.status("eio")).revision, 2);
    assert.equal((await eio.json("revisions", "eio")).revisions.length, 2);
    await eio.stop({ seen: true });
  }
  assert.ok(outcomes.has("true false"), `some deploy met the fault: ${[...outcomes]}`);
});

test("the example reads its pictures without an error", async () => {
  const example = path.join(repository, "examples/read-text-line");
  await promisify(execFile)(path.join(example, "fetch"));
  const { code, stderr } = await platform.cli("deploy", example);
  assert.equal(code, 0, stderr);
  for (const name of ["sleeps", "invoice"]) {
    const picture = readFileSync(path.join(example, `${name}.png`));
    const { status, text } = await call("read-text-line", picture, "image/png");
    assert.equal(status, 200, text);
    assert.equal(
      JSON.parse(text).text,
      readFileSync(path.join(example, `${name}.txt`), "utf8").trim(),
    );
  }
  assert.equal((await call("read-text-line", "not a picture", "image/gif")).status, 415);
  assert.equal((await call("read-text-line", "not a picture", "image/png")).status, 415);
});
