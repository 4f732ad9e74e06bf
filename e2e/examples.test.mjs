// Examples, deployed as they are and called as their README says. One that stands on a large package
// is skipped, and says so, where that is not installed (scripts/setup --test). Those of a single
// runtime are run beside its other tests.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { promisify } from "node:util";
import { startSigned } from "./aws.mjs";
import { Platform, eventually, program, repository } from "./platform.mjs";

const run = promisify(execFile);
const examples = path.join(repository, "examples");

let platform;
before(async () => (platform = await Platform.start()));
after(() => platform.stop());

const json = { "content-type": "application/json" };
const python = (...code) => execFileSync("/usr/bin/python3", ["-c", ...code]);

// Why a test cannot run here, or false.
function missing(module, debian) {
  const find = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)";
  try {
    python(find, module);
    return false;
  } catch {
    return `${debian} is not installed: scripts/setup --test installs it`;
  }
}

// Deployed with a shorter keep-alive than its own, so that it is asleep after each call.
async function deploy(example, ...files) {
  const folder = path.join(repository, "examples", example);
  const manifest = readFileSync(path.join(folder, "dormouse.yaml"), "utf8") + "keep_alive: 0ms\n";
  const done = await platform.deploy(manifest, Object.fromEntries(
    files.map((name) => [name, readFileSync(path.join(folder, name))]),
  ));
  assert.equal(done.code, 0, done.stderr);
  assert.equal((await platform.json("show", example)).function.revision.notes.template, "yes");
}

async function call(name, body, headers = json) {
  const answer = await platform.invoke(name, body, headers);
  assert.equal(answer.status, 200, answer.text);
  return answer;
}

// Where the call found its function, by its receipt.
async function rungOf({ headers }) {
  const { text } = await platform.request("GET", `/api/v1/invocations/${headers["dormouse-invocation"]}`);
  return JSON.parse(text).receipts[0].rung;
}

const asleep = (name) =>
  eventually("asleep", async () => {
    const { instances } = await platform.status(name);
    return Object.values(instances).every((count) => count === 0);
  });

test("pandas-table describes a CSV file", { skip: missing("pandas", "python3-pandas") }, async () => {
  await deploy("pandas-table", "app.py");
  const csv = { "content-type": "text/csv" };
  const towns = readFileSync(path.join(repository, "examples/pandas-table/towns.csv"));
  const { rows, columns } = JSON.parse((await call("pandas-table", towns, csv)).text);
  assert.equal(rows, 5);
  assert.deepEqual(columns, [
    { name: "town", missing: 0, kind: "text", different: 5, most_often: "Passau" },
    { name: "river", missing: 0, kind: "text", different: 3, most_often: "Danube" },
    { name: "inhabitants", missing: 0, kind: "number", min: 48766, mean: 79990.2, max: 157443 },
    { name: "height", missing: 1, kind: "number", min: 312, mean: 343.25, max: 393 },
  ]);
  await asleep("pandas-table");
  const empty = await call("pandas-table", "a,b\n", csv);
  assert.equal(await rungOf(empty), "template");
  assert.deepEqual(JSON.parse(empty.text).columns[1], { name: "b", missing: 0, kind: "empty" });
  const ragged = await platform.invoke("pandas-table", "a,b\n1,2,3\n4,5,6,7\n", csv);
  assert.equal(ragged.status, 502);
  assert.match(JSON.parse(ragged.text).error.message, /^ParserError: /);
  const wrong = await platform.invoke("pandas-table", "[1]", json);
  assert.match(JSON.parse(wrong.text).error.message, /send a CSV file, with Content-Type: text\/csv/);
});

test("torch-mlp is loaded once, and its forks answer alike", { skip: missing("torch", "python3-torch") }, async () => {
  await deploy("torch-mlp", "app.py");
  const inputs = [Array(16).fill(1), Array.from({ length: 16 }, (_, i) => i)];
  const first = JSON.parse((await call("torch-mlp", JSON.stringify({ inputs }))).text).outputs;
  assert.deepEqual(first.map((row) => row.length), [8, 8]);
  // Each output is its own, and none has faded or grown beyond use.
  const flat = first.flat();
  assert.equal(new Set(flat).size, 16);
  assert.ok(flat.every((each) => Math.abs(each) > 1e-6 && Math.abs(each) < 1e3), flat.join());
  for (let round = 0; round < 3; ++round) {
    await asleep("torch-mlp");
    const woken = await call("torch-mlp", JSON.stringify({ inputs }));
    assert.deepEqual(JSON.parse(woken.text).outputs, first);
    assert.equal(await rungOf(woken), "template"); // Nothing was loaded anew.
  }
  const save = "import io, numpy, sys; o = io.BytesIO(); numpy.save(o, numpy.array(eval(sys.argv[1]), 'float32'));" +
    " sys.stdout.buffer.write(o.getvalue())";
  const npy = { "content-type": "application/x-npy" };
  const { body } = await call("torch-mlp", python(save, JSON.stringify(inputs)), npy);
  assert.equal(body.subarray(1, 6).toString(), "NUMPY");
  const values = body.subarray(body.length - 16 * 4);
  assert.deepEqual(flat, Array.from({ length: 16 }, (_, i) => values.readFloatLE(4 * i)));
  const short = await platform.invoke("torch-mlp", '{"inputs": [[1, 2]]}', json);
  assert.match(JSON.parse(short.text).error.message, /rows of 16 numbers, not \[1, 2\]/);
});

// Both lines of the other example, one below the other.
const page = `
import sys
from PIL import Image
lines = [Image.open(name).convert("L") for name in sys.argv[1:]]
page = Image.new("L", (max(each.width for each in lines), sum(each.height + 40 for each in lines)), 255)
top = 0
for each in lines:
    page.paste(each, (0, top))
    top += each.height + 40
page.save(sys.stdout.buffer, "PNG")
`;

test("read-text-page has a model read each of its lines", { skip: missing("PIL", "python3-pil") }, async () => {
  const reader = path.join(repository, "examples/read-text-line");
  execFileSync(path.join(reader, "fetch"));
  const done = await platform.cli("deploy", reader);
  assert.equal(done.code, 0, done.stderr);
  await deploy("read-text-page", "app.py");
  const names = ["sleeps", "invoice"].map((name) => path.join(reader, name));
  const png = { "content-type": "image/png" };
  const picture = python(page, ...names.map((name) => `${name}.png`));
  const { lines, thumbnail } = JSON.parse((await call("read-text-page", picture, png)).text);
  assert.deepEqual(lines.map((line) => line.text), names.map((name) => readFileSync(`${name}.txt`, "utf8").trim()));
  const small = Buffer.from(thumbnail.replace(/^data:image\/jpeg;base64,/, ""), "base64");
  const size = "import base64, io, sys; from PIL import Image; print(*Image.open(io.BytesIO(base64.b64decode(sys.argv[1]))).size)";
  assert.match(python(size, small.toString("base64")).toString(), /^(200 \d+|\d+ 200)$/m);
  const blank = await call("read-text-page", python(`
import sys
from PIL import Image
Image.new("L", (50, 50), 255).save(sys.stdout.buffer, "PNG")
`), png);
  assert.deepEqual(JSON.parse(blank.text).lines, []);
  const wrong = await platform.invoke("read-text-page", "[1]", json);
  assert.match(JSON.parse(wrong.text).error.message, /send a picture, with Content-Type: image\/png/);
});

const text = { "content-type": "text/plain" };
const built = (example) => execFileSync(path.join(examples, example, "build"), { stdio: "pipe" });
const failure = async (name, body) => JSON.parse((await platform.invoke(name, body, text)).text).error.message;

function primes(most) {
  const found = [];
  for (let n = 2; n <= most; ++n) {
    if (found.every((each, i) => found[i - 1] ** 2 > n || n % each !== 0)) found.push(n);
  }
  return found;
}

test("cpp-bootstrap answers whole, streams, and says what is wrong", async () => {
  built("cpp-bootstrap");
  const done = await platform.cli("deploy", path.join(examples, "cpp-bootstrap"));
  assert.equal(done.code, 0, done.stderr);
  const counted = await call("cpp-bootstrap", "count 1000\n", text);
  assert.equal(counted.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse(counted.text), { up_to: 1000, primes: 168 });
  const listed = await call("cpp-bootstrap", "list 20000", text); // More than one piece.
  assert.equal(listed.headers["transfer-encoding"], "chunked");
  assert.equal(listed.text, primes(20000).map((each) => `${each}\n`).join(""));
  assert.equal((await call("cpp-bootstrap", "list 1", text)).text, "");
  for (const wrong of ["", "list", "list 0", "count 100000001", "count -1", "count 5x", Buffer.alloc(1 << 20)]) {
    assert.match(await failure("cpp-bootstrap", wrong), /^BadOrder: send `count N` or `list N`, with N from 1 to 1/);
  }
  // All that was one instance: it was never started anew.
  const { stdout } = await platform.cli("logs", "cpp-bootstrap", "-n", "1000");
  assert.equal(stdout.match(/Init Duration/g).length, 1);
});

// What the platform's own API never does, and Lambda's may: answers in chunks, and closes.
test("cpp-bootstrap reads chunks, interim answers, and connects anew", async () => {
  const heard = [];
  const api = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      heard.push([request.url.split("/").slice(4).join("/"), Buffer.concat(parts).toString()]);
      if (request.method === "POST") return response.writeHead(202, { connection: "close" }).end("{}");
      if (heard.length > 2) return response.writeHead(500).end("enough");
      response.writeContinue();
      response.writeHead(200, { "LAMBDA-runtime-aws-request-id": "7", "Lambda-Runtime-Deadline-Ms": "9999999999999" });
      response.write("count");
      setTimeout(() => response.end(" 10"), 20);
    });
  });
  api.listen(0, "127.0.0.1");
  await once(api, "listening");
  const env = { AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${api.address().port}` };
  const ended = await run(path.join(examples, "cpp-bootstrap/bootstrap"), [], { env }).catch((failed) => failed);
  api.close();
  assert.deepEqual(heard, [["next", ""], ["7/response", '{"up_to": 10, "primes": 4}\n'], ["next", ""]]);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /^7: 8 bytes\nruntime API: next: 500 enough\n$/);
});

test("native-heap is forked with its table", async () => {
  built("native-heap");
  const done = await platform.cli("deploy", path.join(examples, "native-heap"));
  assert.equal(done.code, 0, done.stderr);
  assert.equal((await platform.json("show", "native-heap")).function.revision.notes.template, "yes");
  assert.match((await call("native-heap", "27", text)).text, /^\{"n": 27, "steps": 111, /);
  assert.match(await failure("native-heap", "0"), /send a whole number from 1 to/);
});

test("aws-cli is deployed, called and updated by the aws command line", { timeout: 120_000 }, async () => {
  const signed = await startSigned();
  try {
    const env = {
      HOME: signed.dir, DORMOUSE_URL: signed.url, ...signed.options.env,
      PATH: `${path.dirname(program)}:/usr/bin:/bin`,
    };
    const deployed = () => run(path.join(examples, "aws-cli/deploy"), [], { env });
    const first = await deployed();
    assert.match(first.stdout, /^Active\nSTART RequestId: \S+ Version: 1\n\[INFO\] check-iban of test: good\nEND/);
    assert.match(first.stdout, /\nREPORT .*\n\{"iban": "DE89370400440532013000", "good": true\}\n$/);
    const second = await deployed();
    assert.match(second.stdout, /^Successful\nSTART/);
    env.DORMOUSE_KEY = "not-this-one";
    await assert.rejects(deployed(), /UnrecognizedClient|InvalidSignature|AccessDenied|[Kk]ey/);
  } finally {
    await signed.stop();
  }
});
