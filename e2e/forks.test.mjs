// Groups O and Z for functions that are forked from a template: what is done to one of them costs its
// own calls and nothing else.
import { test, describe, before, after } from "node:test";
import assert from "node:assert/strict";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { deployForked, errorOf, json } from "./forked.mjs";
import { outlive, triesWithin } from "./load.mjs";
import { Platform, eventually, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);

let platform;
before(async () => (platform = await Platform.start()));
after(() => platform.stop({ seen: true }));

const invoke = (name, event) => platform.invoke(name, JSON.stringify(event), json);
const deploy = (...what) => deployForked(platform, ...what);

const deafInPython = `import os, signal
def handler(how, context):
    if how == "stop": os.kill(os.getpid(), signal.SIGSTOP)
    if how == "ignore-term": signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while how != "well": pass
    return how`;

const deafInShell = `#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  id=$(curl -sS -D - -o /tmp/event "$api/next" | tr -d '\\r' |
    awk 'tolower($1) == "lambda-runtime-aws-request-id:" { print $2 }')
  case $(cat /tmp/event) in
    *stop*) kill -STOP $$ ;;
    *ignore-term*) trap '' TERM; while :; do :; done ;;
    *spin*) while :; do :; done ;;
  esac
  curl -sS -o /dev/null --data-binary @/tmp/event "$api/$id/response"
done
`;

const deeds = ["spin", "stop", "ignore-term", "spin", "stop", "ignore-term"].map((how) => JSON.stringify(how));

test("O7: forks that spin, stop themselves or will not listen are gone soon after their timeout", async () => {
  const timeout = 400;
  await deploy("deaf", deafInPython, { timeout: `${timeout}ms`, max_instances: 12 });
  await outlive(platform, "deaf", [...deeds, ...deeds], { timeout, waves: nightly ? 750 : 13, headers: json });
  assert.equal((await invoke("deaf", "well")).text, '"well"');
});

test("O7: and so are programs that were not forked", async () => {
  const shells = await Platform.start();
  const timeout = 600;
  const manifest = { name: "deaf-sh", runtime: "executable", timeout: `${timeout}ms`, max_instances: 6 };
  const done = await shells.deploy(manifest, { bootstrap: deafInShell });
  assert.equal(done.code, 0, done.stderr);
  await outlive(shells, "deaf-sh", deeds, { timeout, waves: nightly ? 167 : 9, headers: json });
  assert.equal((await shells.invoke("deaf-sh", '"well"', json)).text, '"well"');
  await shells.stop();
});

// Fails while there is a file of this name, and leaves a mark in it.
const failing = (name, how, where) => `import os
def fail_if_asked():
    if os.path.exists("/attempts/${name}"):
        with open("/attempts/${name}", "a") as marks: marks.write("x\\n")
        ${how}
${where}
def handler(event, context): return event`;

// Calls it for `ms`, ten at once, while it fails. Gives the answers, and how often it was started.
async function failFor(ms, name, code, more) {
  const flag = path.join(path.dirname(platform.attempts), name);
  await deploy(name, code, { keep_alive: "0ms", max_instances: 2, ...more });
  writeFileSync(flag, "");
  chmodSync(flag, 0o666);
  const answers = [];
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) {
    answers.push(...(await Promise.all(Array.from({ length: 10 }, () => invoke(name, 1)))));
    assert.equal((await platform.status(name)).queued, 0);
  }
  const starts = readFileSync(flag, "utf8").split("\n").length - 1;
  rmSync(flag);
  await eventually("it starts again", async () => (await invoke(name, 7)).text === "7");
  return { answers, starts };
}

function assertTold(answer, why) {
  assert.ok(answer.status === 502 || answer.status === 503, `${answer.status} ${answer.text}`);
  assert.match(errorOf(answer).message, why);
  assert.equal(errorOf(answer).blame, "function");
}

// Most of it is waiting, so they wait together: four, since no more are deployed at a time.
describe("at the edges of sleep", { concurrency: 4 }, () => {
  test("Z1: calls within 5 ms of the idle deadline are all answered", async () => {
    const keepAlive = 100;
    const burst = 20;
    const names = Array.from({ length: 4 }, (_, i) => `z1-${i}`);
    const rounds = (nightly ? 100_000 : 5_000) / burst / names.length;
    for (const name of names) {
      await deploy(name, "def handler(event, context): return event", { keep_alive: `${keepAlive}ms` });
    }
    // One whose template has just as long, and is made again with every second call.
    await deploy("z1-template", "def handler(event, context): return event", {
      keep_alive: `${keepAlive}ms`, template_keep_alive: `${keepAlive}ms` });
    const one = async (name, rounds) => {
      for (let round = 0; round < rounds; ++round) {
        const answers = await Promise.all(Array.from({ length: burst }, (_, i) => invoke(name, i)));
        for (const [i, { status, text }] of answers.entries()) assert.deepEqual([status, text], [200, `${i}`]);
        await sleep(keepAlive - 5 + Math.random() * 10);
      }
    };
    await Promise.all([...names.map((name) => one(name, rounds)), one("z1-template", rounds / 4)]);
  });

  for (const [name, how, why] of [
    ["raises", 'raise RuntimeError("no weights")', /importing seen.handler: RuntimeError: no weights/],
    ["crashes", "os.abort()", /ended while starting.*SIGABRT/],
  ]) {
    test(`Z3: when the import ${name}, all who wait are told, and starts keep their distance`, async () => {
      const code = failing(name, how, "fail_if_asked()");
      const began = Date.now();
      const { answers, starts } = await failFor(2500, name, code, { template_keep_alive: "0s" });
      answers.forEach((answer) => assertTold(answer, why));
      assert.ok(answers.length > 100, `${answers.length} calls`);
      const most = triesWithin(Date.now() - began);
      assert.ok(starts >= 1 && starts <= most, `${starts} starts, at most ${most} are due`);
    });
  }

  test("Z3: when after_fork raises, its calls are told, and forks keep their distance", async () => {
    const code = failing("after", 'raise RuntimeError("no table")', "def after_fork(): fail_if_asked()");
    const began = Date.now();
    const { answers, starts } = await failFor(2500, "after", code, { template_keep_alive: "10m" });
    // The first ones may have met forks that waited since before. A fork is given its call before it
    // has said that it is ready, until one has failed: of those calls it may be all that is known.
    const failed = answers.filter(({ status }) => status !== 200);
    assert.ok(failed.length >= answers.length - 10, `${failed.length} of ${answers.length} failed`);
    failed.forEach((answer) => assertTold(answer, /after_fork: RuntimeError: no table|may have run/));
    const unsure = failed.filter((answer) => /may have run/.test(errorOf(answer).message));
    assert.ok(unsure.length <= 4, `${unsure.length} calls may have run`);
    // Beside the starts: a fork for each call that met it unprepared, and those made beforehand.
    const most = triesWithin(Date.now() - began) + 4;
    assert.ok(starts >= 1 && starts <= most, `${starts} forks, at most ${most} are due`);
  });

  test("Z4: a slow start within its limit is waited for, one beyond it is given up with a reason", async () => {
    const slow = `import os, time
try: time.sleep(float(os.environ["SECONDS"]))
except BaseException:
    time.sleep(0.2)  # It is told why even if the worker can say it only after the time is over.
    raise
def handler(event, context): return event`;
    const sleeps = { keep_alive: "0ms", template_keep_alive: "0s" };
    await deploy("z4", slow, { ...sleeps, env: { SECONDS: "1.5" }, start_timeout: "20s" });
    await platform.asleep("z4");
    const answers = await Promise.all(Array.from({ length: 5 }, (_, i) => invoke("z4", i)));
    for (const [i, { status, text }] of answers.entries()) assert.deepEqual([status, text], [200, `${i}`]);
    const refused = await platform.deploy(
      { name: "z4-late", runtime: "python", handler: "app.handler", env: { SECONDS: "30" }, start_timeout: "1s" },
      { "app.py": slow },
    );
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /importing app\.handler: it was not done after 0\.9\d* s/);
  });
});
