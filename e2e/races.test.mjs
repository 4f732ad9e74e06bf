// Group Z: between asleep and awake nothing is lost. O7: what hangs is ended.
import { test, describe, before, after } from "node:test";
import assert from "node:assert/strict";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { outlive, triesWithin } from "./load.mjs";
import { Platform, eventually, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
let platform;
before(async () => (platform = await Platform.start({ blanks: 3 })));
after(() => platform.stop({ seen: true }));

test("Z1: calls within 5 ms of the idle deadline are all answered", async () => {
  const keepAlive = 100;
  const burst = 40;
  const rounds = (nightly ? 100_000 : 5_000) / burst; // By day so many here, and as many of forks.
  const names = Array.from({ length: 8 }, (_, i) => `z1-${i}`);
  for (const name of names) {
    await platform.deployProbe(name, { keep_alive: `${keepAlive}ms`, concurrency: 16 });
  }
  const one = async (name) => {
    for (let round = 0; round < rounds / names.length; ++round) {
      const calls = Array.from({ length: burst }, () => platform.invoke(name, "echo x"));
      for (const { status, text } of await Promise.all(calls)) assert.equal(status, 200, text);
      await sleep(keepAlive - 5 + Math.random() * 10);
    }
  };
  await Promise.all(names.map(one));
});

test("Z3: what cannot start says why to all who wait, and is not tried at once again", async () => {
  const failed = await platform.deploy({
    name: "z3",
    runtime: "probe",
    memory: "64MiB",
    env: { INIT_FAIL: "the weights are gone" },
  });
  assert.notEqual(failed.code, 0);
  assert.match(failed.stderr, /the weights are gone/);
  assert.equal(await platform.status("z3"), undefined);
  const crashed = await platform.deploy({
    name: "z3",
    runtime: "probe",
    memory: "64MiB",
    env: { INIT_CRASH: "1" },
  });
  assert.notEqual(crashed.code, 0);
  assert.match(crashed.stderr, /signal|status/);
});

const readiness = (name) => platform.request("GET", `/v2/models/${name}/ready`);

// Most of it is waiting, so they wait together.
describe("starts that fail or take long", { concurrency: true }, () => {
  test("Z3: all who wait are told at once, and starts keep their distance", async () => {
    const flag = `${platform.attempts}-absent`; // Seen inside as /attempts/log-absent.
    const env = { INIT_CRASH_IF: "/attempts/log-absent" };
    const instances = 2;
    await platform.deployProbe("z3-late", { env, keep_alive: "50ms", max_instances: instances });
    await platform.invoke("z3-late", "echo well");
    await eventually("asleep", async () => (await platform.status("z3-late")).state === "asleep");
    writeFileSync(flag, "");
    chmodSync(flag, 0o666);
    const seconds = 4;
    const began = Date.now();
    let told = 0;
    while (Date.now() - began < seconds * 1000) {
      const calls = Array.from({ length: 20 }, () => platform.invoke("z3-late", "echo x"));
      for (const { status, text } of await Promise.all(calls)) {
        assert.ok(status === 502 || status === 503, `${status} ${text}`);
        assert.match(JSON.parse(text).error.message, /ended while starting.*SIG(ABRT|SEGV)/);
        assert.equal(JSON.parse(text).error.blame, "function");
        ++told;
      }
      assert.equal((await platform.status("z3-late")).queued, 0);
      await sleep(20);
    }
    assert.ok(told > 100, `${told} calls`);
    const looping = await readiness("z3-late");
    assert.equal(looping.status, 503);
    const { ready, error } = JSON.parse(looping.text);
    assert.equal(ready, false);
    assert.match(error, /cannot be started: it ended while starting/);
    const rounds = triesWithin(Date.now() - began);
    const starts = readFileSync(flag, "utf8").split("\n").length - 1;
    assert.ok(starts >= 1 && starts <= rounds * instances, `${starts} starts in ${rounds} rounds`);
    rmSync(flag);
    await eventually("it starts again", async () => {
      return (await platform.invoke("z3-late", "echo again")).text === "again";
    });
    assert.deepEqual(JSON.parse((await readiness("z3-late")).text), { name: "z3-late", ready: true });
  });

  test("Z4: a slow start within its limit is waited for, and never refused", async () => {
    let there = false;
    const deploying = platform
      .deployProbe("z4", { env: { INIT_SLEEP: "1500" }, start_timeout: "20s", keep_alive: "100ms" })
      .finally(() => (there = true));
    let looks = "";
    for (; !there; await sleep(25)) looks += `${(await readiness("z4")).status} `;
    await deploying;
    assert.match(looks, /^(404 ){20,}(200 )*$/); // Not before it has started once, and from then on.
    await eventually("asleep", async () => (await platform.status("z4")).state === "asleep");
    assert.equal((await readiness("z4")).status, 200);
    const calls = Array.from({ length: 5 }, () => platform.invoke("z4", "echo late"));
    for (const { status, text } of await Promise.all(calls)) {
      assert.equal(status, 200, text);
      assert.equal(text, "late");
    }
  });
});

test("O7: what spins, stops itself or will not listen is gone soon after its timeout", async () => {
  const timeout = 300;
  await platform.deployProbe("deaf", { timeout: `${timeout}ms`, concurrency: 1, max_instances: 6 });
  const hows = ["spin", "stop", "ignore-term", "spin", "stop", "ignore-term"];
  await outlive(platform, "deaf", hows, { timeout, waves: nightly ? 1667 : 9 });
  await eventually("it is well", async () => {
    return (await platform.invoke("deaf", "echo well")).text === "well";
  });
});
