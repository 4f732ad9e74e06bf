// The examples that stand on large packages: deployed as they are, called as their README says. Each
// is skipped, and says so, where its package is not installed (scripts/setup --test).
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, repository } from "./platform.mjs";

let platform;
before(async () => (platform = await Platform.start()));
after(() => platform.stopLeavingNothing());

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
  const { lines } = JSON.parse((await call("read-text-page", picture, png)).text);
  assert.deepEqual(lines.map((line) => line.text), names.map((name) => readFileSync(`${name}.txt`, "utf8").trim()));
  const blank = await call("read-text-page", python(`
import sys
from PIL import Image
Image.new("L", (50, 50), 255).save(sys.stdout.buffer, "PNG")
`), png);
  assert.deepEqual(JSON.parse(blank.text), { lines: [] });
  const wrong = await platform.invoke("read-text-page", "[1]", json);
  assert.match(JSON.parse(wrong.text).error.message, /send a picture, with Content-Type: image\/png/);
});
