// What a function that wants all of something leaves to others: S3, S6, memory. How much slower those are meanwhile is
// measured by scripts/bench apart; here they are answered.
import { test, describe, before, after } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { openLoop } from "./load.mjs";
import { Platform, eventually, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
let platform;
before(async () => {
  platform = await Platform.start();
  await deploy("calm", "def handler(event, context): return event", { keep_alive: "1m", timeout: "2s" });
});
after(() => platform.stop());

const json = { "content-type": "application/json" };

async function deploy(name, code, more) {
  const manifest = { name, runtime: "python", handler: "app.handler", memory: "96MiB", ...more };
  const done = await platform.deploy(manifest, { "app.py": code });
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", name)).function.revision;
  assert.equal(notes.template, "yes");
}

// While `misdeed` is done, 200 calls a second of a function that is awake.
async function beside(misdeed) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  let answered = 0;
  const done = misdeed();
  await openLoop(200, 0.8, async () => {
    const { status, text } = await platform.request("POST", "/f/calm", { body: "1", headers: json, agent });
    assert.deepEqual([status, text], [200, "1"]);
    ++answered;
  });
  agent.destroy();
  await done;
  assert.ok(answered >= 150, `${answered} were answered`);
}

function groupOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8");
  } catch {
    return ""; // It ended meanwhile.
  }
}

const bomb = `import os
def bomb():
    while True:
        try: os.fork()
        except OSError: pass
def handler(event, context):
    if event == "bomb": bomb()
    return event`;

test("S3: a fork bomb stops at the limit of processes, and is ended soon; others are answered meanwhile", async () => {
  let most = 0;
  for (let round = 0; round < (nightly ? 10 : 3); ++round) {
    const name = `forks-${round}`;
    await deploy(name, bomb, { cpu: 0.5, keep_alive: "0ms", timeout: "20s" });
    await beside(async () => {
      let answered = false;
      const answer = platform.invoke(name, '"bomb"', json).finally(() => (answered = true));
      while (!answered) {
        await sleep(20);
        const groups = platform.forks().map(groupOf).filter((group) => group.includes("slot-"));
        most = Math.max(most, ...groups.map((each) => groups.filter((other) => other === each).length));
      }
      const { status, text } = await answer;
      assert.equal(status, 502, text);
      assert.match(text, /OutOfProcesses: the function went on making processes beyond its 64/);
      const since = performance.now();
      await eventually("it is gone", () => platform.isIdle(name));
      const late = performance.now() - since;
      assert.ok(late <= 2000, `gone ${late.toFixed(0)} ms after its end`);
    });
  }
  assert.ok(most > 32 && most <= 64, `${most} processes of one fork`);
});

test("S3: a fork bomb as it is loaded ends the deploy, and the revision before it serves on", async () => {
  const good = "def handler(event, context): return event";
  await deploy("import", good);
  const manifest = { name: "import", runtime: "python", handler: "app.handler", memory: "96MiB" };
  const done = await platform.deploy(manifest, { "app.py": `${bomb}\nbomb()` });
  assert.notEqual(done.code, 0);
  assert.match(done.stderr, /it ended while starting: OutOfProcesses/);
  assert.equal(await platform.callJson("import", "well"), "well");
});

const kept = (name) =>
  readdirSync(path.join(platform.data, "logs"))
    .filter((file) => file.startsWith(`${name}.`))
    .map((file) => path.join(platform.data, "logs", file));

// What a line has beside its text is most of it if there is nothing in it.
for (const [kind, piece, least] of [["long lines", '(b"p" * 1023 + b"\\n") * 1024', 6], ["empty lines", 'b"\\n" * (1 << 18)', 0.2]]) {
  test(`S6: a flood of ${kind} is bounded in the log and in the daemon; others are answered meanwhile`, async () => {
    const code = `import os, time
def handler(event, context):
    piece = ${piece}
    end, mib = time.monotonic() + 0.9, 0
    while time.monotonic() < end: mib += os.write(1, piece) / (1 << 20)
    print("the last line")
    return mib`;
    const name = kind.replace(" ", "-");
    await deploy(name, code, { cpu: 0.5, timeout: "60s" });
    const before = platform.memoryOfDaemon();
    let grown = 0;
    await beside(async () => {
      const mib = await platform.callJson(name, null);
      assert.ok(mib >= least, `only ${mib} MiB were printed`);
      grown = platform.memoryOfDaemon() - before;
    });
    assert.ok(grown <= 16 << 20, `the daemon has grown by ${grown} bytes`);
    const bytes = kept(name).reduce((sum, file) => sum + statSync(file).size, 0);
    assert.ok(bytes > 1 << 20 && bytes <= 16 << 20, `${bytes} bytes of log`);
    const { stdout } = await platform.cli("logs", name);
    assert.match(stdout, /the last line/);
  });
}

// Asks until something else is over, one call after another: how long the longest took, and how many there were.
async function askUntil(over, on, name) {
  let isOver = false;
  const ends = over.finally(() => (isOver = true));
  let longest = 0;
  let count = 0;
  for (; !isOver; ++count) {
    const began = performance.now();
    const { status, text } = await on.invoke(name, "echo here");
    assert.equal(status, 200, text);
    longest = Math.max(longest, performance.now() - began);
  }
  return { ended: await ends, longest, count };
}

// Most of it is waiting, so they wait together.
describe("what has to wait", { concurrency: true }, () => {
  test("S3: after a fork bomb its function is held back, for longer each time; a new revision is not", async () => {
    await deploy("again", bomb, { timeout: "20s" });
    assert.equal(await platform.callJson("again", "well"), "well");
    for (const seconds of [2, 4]) {
      assert.equal((await platform.invoke("again", '"bomb"', json)).status, 502);
      await eventually("its instance is gone", () => platform.isIdle("again"));
      const held = await platform.invoke("again", '"well"', json);
      assert.equal(held.status, 503, held.text);
      assert.match(held.text, /an instance of it was ended \(OutOfProcesses: .*\): the next one keeps its distance/);
      const wait = Number(held.headers["retry-after"]);
      assert.ok(wait > seconds - 2 && wait <= seconds, `Retry-After: ${wait}, not ${seconds}`);
      await sleep(wait * 1000);
      assert.equal(await platform.callJson("again", "well"), "well");
    }
    assert.equal((await platform.invoke("again", '"bomb"', json)).status, 502);
    await deploy("again", bomb.replace("import os", "import os, sys"), { timeout: "20s" });
    assert.equal(await platform.callJson("again", "well"), "well");
    const { stdout } = await platform.cli("logs", "again");
    assert.match(stdout, /OutOfProcesses: .*; 1 of its calls ended with it/);
  });

  test("a server that may not start a thread for each call is told so as often as it asks, and is no bomb", async () => {
    const code = `import time
def handler(event, context):
    time.sleep(1.5)
    return event`;
    await deploy("threads", code, { concurrency: 100, max_instances: 1, timeout: "20s" });
    const calls = Array.from({ length: 300 }, () => platform.invoke("threads", "7", json));
    const answers = await Promise.all(calls);
    const well = answers.filter(({ status }) => status === 200).length;
    const refused = answers.filter(({ text }) => /thread/.test(text)).length;
    assert.ok(well >= 32, `${well} were answered`);
    assert.ok(refused >= 128, `${refused} of ${answers.length} got no thread: ${answers.at(-1).text}`);
    for (const { text } of answers) assert.doesNotMatch(text, /OutOfProcesses/);
  });

  test("one that waits for more memory than there is keeps none from others that fit, and is told why it waited in vain", async () => {
    const narrow = await Platform.start({ config: "node:\n  memory: 256MiB\n" });
    try {
      await narrow.deployProbe("long", { memory: "128MiB" });
      await narrow.deployProbe("large", { memory: "224MiB", timeout: "20s" });
      await narrow.deployProbe("hasty", { memory: "208MiB", timeout: "1s" });
      for (const name of ["asleep", "awake"]) await narrow.deployProbe(name, { memory: "64MiB", timeout: "3s" });
      assert.equal((await narrow.invoke("awake", "echo up")).text, "up");
      const long = narrow.invoke("long", "sleep 2500");
      await eventually("it runs", async () => (await narrow.status("long")).running === 1);
      const large = narrow.invoke("large", "echo here");
      const hasty = narrow.invoke("hasty", "echo here");
      const asleep = narrow.invoke("asleep", "echo here");
      const { longest, count } = await askUntil(Promise.all([asleep, sleep(1500)]), narrow, "awake");
      assert.ok(longest <= 1000 && count >= 20, `${count} calls, the longest ${longest.toFixed(0)} ms`);
      assert.equal((await asleep).text, "here");
      const { status, text, headers } = await hasty;
      assert.equal(status, 503, text);
      assert.equal(headers["retry-after"], "1");
      assert.match(text, /memory is held by others: one instance needs 208 MiB, \d+ MiB of 256 MiB are free/);
      assert.match((await narrow.cli("show", "large")).stdout, /queued +1, waiting for memory/);
      assert.equal((await long).status, 200);
      assert.equal((await large).text, "here");
    } finally {
      await narrow.stop();
    }
  });
});
