// What stays, what is watched, and who may write: U5, one daemon a folder, two on one host,
// metrics, logs, D9, D10 and L3.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import path from "node:path";
import { expectAsMeasured, median } from "./billed.mjs";
import { Platform, eventually, program } from "./platform.mjs";

test("U5: a database from a newer version is refused and left as it was", async () => {
  const platform = await Platform.start();
  assert.deepEqual(await platform.kill("SIGTERM"), { code: 0, signal: null });
  const file = path.join(platform.data, "dormouse.db");
  const age = `
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    database.execute("UPDATE schema_versions SET version = 99 WHERE module = 'catalog'")
`;
  execFileSync("/usr/bin/python3", ["-c", age, file]);
  const hash = () => createHash("sha256").update(readFileSync(file)).digest("hex");
  const before = hash();
  await assert.rejects(platform.serve(), /newer/);
  assert.equal(hash(), before);
  assert.deepEqual(platform.leftovers(), []);
  platform.remove();
});

test("a second daemon in the same folder is refused, one in another lives beside it", async () => {
  const one = await Platform.start();
  await one.deployProbe("echo");
  const second = new Platform();
  const own = second.data;
  second.data = one.data;
  await assert.rejects(second.serve(), /another dormouse/);
  second.data = own;
  await second.serve();
  await second.deployProbe("echo");
  assert.equal((await second.invoke("echo", "echo two")).text, "two");
  assert.equal((await one.invoke("echo", "echo one")).text, "one");
  await second.kill("SIGKILL");
  assert.equal((await one.invoke("echo", "echo one")).text, "one");
  await second.serve();
  assert.equal((await one.invoke("echo", "echo one")).text, "one");
  assert.equal((await second.invoke("echo", "echo two")).text, "two");
  assert.deepEqual(await second.kill("SIGTERM"), { code: 0, signal: null });
  assert.deepEqual(second.leftovers(), []);
  assert.equal((await one.invoke("echo", "echo one")).text, "one");
  assert.deepEqual(await one.kill("SIGTERM"), { code: 0, signal: null });
  assert.deepEqual(one.leftovers(), []);
  second.remove();
  one.remove();
});

// name{label="value",…} number
function parseMetrics(text) {
  const samples = new Map();
  const types = new Map();
  for (const line of text.split("\n").filter(Boolean)) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (comment) {
      if (comment[1] === "TYPE") types.set(comment[2], comment[3]);
      continue;
    }
    const sample = /^([a-z_]+)(\{(?:[a-z_]+="[^"]*",?)*\})? ([-+0-9.eE]+|\+Inf|NaN)$/.exec(line);
    assert.ok(sample, `not a sample: ${line}`);
    const family = sample[1].replace(/_(bucket|sum|count)$/, "");
    assert.ok(types.has(sample[1]) || types.has(family), `no TYPE of ${sample[1]}`);
    const key = sample[1] + (sample[2] ?? "");
    assert.ok(!samples.has(key), `twice: ${key}`);
    samples.set(key, Number(sample[3]));
  }
  return samples;
}

test("metrics are Prometheus's, and count what happened", async () => {
  const platform = await Platform.start();
  await platform.deployProbe("counted");
  for (let i = 0; i < 5; ++i) await platform.invoke("counted", "echo x");
  await platform.invoke("counted", "crash");
  const { text, headers } = await platform.request("GET", "/metrics");
  assert.match(headers["content-type"], /^text\/plain/);
  const samples = parseMetrics(text);
  const of = (name, labels) => samples.get(`${name}{function="counted",${labels}}`);
  assert.equal(of("dormouse_invocations_total", 'outcome="ok"'), 5);
  assert.equal(of("dormouse_invocations_total", 'outcome="function_failed"'), 1);
  assert.equal(samples.get('dormouse_run_seconds_count{function="counted"}'), 6);
  assert.equal(samples.get('dormouse_queue_depth{function="counted"}'), 0);
  for (const phase of ["sandbox", "code", "load"]) {
    assert.ok(of("dormouse_wake_seconds_count", `phase="${phase}"`) >= 1, phase);
  }
  assert.ok(samples.get("dormouse_loop_lag_max_seconds") < 60);
  await platform.stop();
});

test("logs are attributed, and followed as they come", async () => {
  const platform = await Platform.start();
  await platform.deployProbe("chatty");
  const first = await platform.invoke("chatty", "print 200");
  const env = { ...process.env, DORMOUSE_URL: platform.url };
  const follower = spawn(program, ["--json", "logs", "chatty", "-f"], { env });
  const lines = [];
  follower.stdout.on("data", (text) => lines.push(...String(text).split("\n").filter(Boolean)));
  await eventually("what was there", async () => lines.length >= 2);
  const second = await platform.invoke("chatty", "print 100");
  await eventually("what comes", async () => lines.length >= 3);
  const seen = lines.map((line) => JSON.parse(line));
  assert.ok(seen.every(({ text, revision }) => /^p+$/.test(text) && revision === 1));
  const by = seen.map(({ invocation }) => invocation);
  const [one, two] = [first, second].map(({ headers }) => headers["dormouse-invocation"]);
  assert.deepEqual(by, [one, one, two]);
  follower.kill();
  await platform.stop();
});

test("L3: what is billed is what the function itself measured, rounded up", async () => {
  const platform = await Platform.start();
  await platform.deployProbe("timed", { concurrency: 8 });
  await platform.invoke("timed", "echo up");
  const call = async (ms) => {
    const { headers } = await platform.invoke("timed", `sleep ${ms}`);
    const id = headers["dormouse-invocation"];
    const line = () => readFileSync(platform.attempts, "utf8").split("\n").find((each) => each.startsWith(id));
    const [, , , began, ended] = (await eventually("it is in the log", line)).split(" ");
    return { measured: (Number(ended) - Number(began)) / 1000, headers };
  };
  const differences = [];
  for (let ms = 0; ms < 50; ++ms) differences.push(await expectAsMeasured(call, ms));
  assert.ok(median(differences) <= 1, `they differ by ${median(differences)} ms`);
  await platform.stop({ seen: true });
});

test("D9, D10: one process has the database, and no child anything of the daemon's", async () => {
  const platform = await Platform.start({ blanks: 2 });
  await platform.deployProbe("echo");
  await platform.invoke("echo", "echo up");
  await eventually("workers", async () => platform.processes().length >= 2);
  const descriptors = (pid) =>
    readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return "";
      }
    });
  const files = descriptors(platform.daemonPid()).filter((file) => file.endsWith("dormouse.db"));
  assert.equal(files.length, 1);
  for (const pid of platform.processes()) {
    for (const file of descriptors(pid)) {
      assert.match(file, /^(socket:|pipe:|\/dev\/null|anon_inode:|$)/, `worker ${pid} has ${file}`);
    }
    const sockets = descriptors(pid).filter((file) => file.startsWith("socket:"));
    assert.equal(sockets.length, 1, "the wire's, and no other");
  }
  await platform.stop({ seen: true });
});
