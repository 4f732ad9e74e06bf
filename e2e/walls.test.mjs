// What a function tries against the platform and its neighbours: each gets a reasoned answer, and
// nobody else notices. S3, S4, S5, S6, S13, S15, S17.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { Platform, eventually } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
let platform;
let descriptors; // Of the daemon, before all that follows.
before(async () => {
  // So that what floods prints for a second, and not for a quarter of a minute.
  platform = await Platform.start({ blanks: 2, config: "logs: { rate: 160MiB }\n" });
  for (const name of ["bad", "good"]) {
    await platform.deployProbe(name, { timeout: "10s", keep_alive: "2s" });
    assert.equal((await platform.invoke(name, "echo up")).text, "up");
  }
  await allAreAsleep();
  await platform.blanksWait("probe", 2);
  descriptors = await platform.descriptorsOfDaemon();
});
after(() => platform.stop()); // Misdeeds log no attempt.

async function allAreAsleep() {
  for (const { name } of (await platform.json("list")).functions) await platform.asleep(name);
}

async function goodStillAnswers() {
  assert.equal((await platform.invoke("good", "echo still")).text, "still");
}

test("S4: using more memory than declared is an OutOfMemory, and the sibling lives", async () => {
  const { status, text } = await platform.invoke("bad", "oom 500");
  assert.equal(status, 502, text);
  assert.match(JSON.parse(text).error.message, /OutOfMemory/);
  assert.match((await platform.cli("logs", "bad")).stdout, /OutOfMemory: .*; 1 of its calls ended with it/);
  await goodStillAnswers();
});

test("S5: /tmp is full at its size, and empty in the next instance", async () => {
  await platform.deployProbe("filler", { memory: "256MiB", keep_alive: "2s" });
  const { status, text } = await platform.invoke("filler", "fill");
  assert.equal(status, 200, text);
  assert.match(text, /^\d+ bytes: No space left on device$/);
  assert.ok(Number.parseInt(text) <= 64 << 20, text);
});

test("S6: a flood of output is bounded, and does not stop its function", async () => {
  const { status, text } = await platform.invoke("good", `print ${(nightly ? 1000 : 128) << 20}`);
  assert.equal(status, 200, text);
  const lines = await eventually("the log", async () => {
    const { stdout } = await platform.cli("logs", "good", "-n", "50");
    return stdout.length > 0 && stdout;
  });
  assert.match(lines, /ppp/);
  const logs = path.join(platform.data, "logs");
  const kept = readdirSync(logs, { recursive: true })
    .map((name) => statSync(path.join(logs, name)))
    .reduce((sum, each) => sum + (each.isFile() ? each.size : 0), 0);
  assert.ok(kept <= 17 << 20, `${kept} bytes of logs`); // 16 MiB, and the others' few lines.
});

test("S13: nothing is reached from inside: not the host, not the network", async () => {
  const reached = [];
  const listener = net.createServer((socket) => reached.push(socket.end()));
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
  for (const [address, port] of [
    ["127.0.0.1", listener.address().port],
    ["127.0.0.1", platform.port],
    ["169.254.169.254", 80],
    ["10.0.0.1", 80],
    ["192.0.2.1", 443],
  ]) {
    const { text } = await platform.invoke("bad", `connect ${address} ${port}`);
    assert.doesNotMatch(text, /CONNECTED/, address);
    assert.match(text, /socket:|connect:/);
  }
  assert.equal(reached.length, 0);
  listener.close();
});

test("S15: functions are different users, and cannot signal each other", async () => {
  for (const name of ["good", "bad"]) await platform.invoke(name, "pid");
  const users = platform.processes().map((pid) => {
    return /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1];
  });
  assert.ok(users.length >= 2 && !users.includes("0"), users.join());
  assert.equal(new Set(users).size, users.length, users.join());
  await platform.invoke("bad", "kill-all");
  await goodStillAnswers();
  assert.equal((await platform.invoke("bad", "echo again")).text, "again");
});

test("S17: lies on the wire end the liar's instance and nothing else", async () => {
  for (const lie of ["wrong-handle", "twice", "huge", "malformed"]) {
    const { status, text } = await platform.invoke("bad", lie);
    if (lie === "twice") {
      assert.equal(status, 200); // The first of the two was a right answer.
    } else {
      assert.equal(status, 502, `${lie}: ${text}`);
      assert.match(JSON.parse(text).error.message, /answer|malformed/);
    }
    await goodStillAnswers();
  }
  const late = await platform.invoke("bad", "late");
  assert.equal(late.status, 502);
  await eventually("an honest instance", async () => {
    return (await platform.invoke("bad", "echo honest")).text === "honest";
  });
});

test("S3: a fork bomb stops at the limit of processes", async () => {
  const { status, text } = await platform.invoke("bad", "fork-bomb");
  assert.equal(status, 200, text);
  assert.ok(Number.parseInt(text) < 64, text);
  await goodStillAnswers();
});

test("an orphan of a function does not outlive its instance", async () => {
  await platform.deployProbe("parent", { keep_alive: "100ms" });
  assert.equal((await platform.invoke("parent", "orphan")).text, "left");
  await eventually("asleep", async () => {
    const { state, memory_bytes } = await platform.status("parent");
    return state === "asleep" && memory_bytes === 0;
  });
});

test("all of that has left no descriptor open in the daemon", async () => {
  await allAreAsleep();
  const areClosed = async () => (await platform.descriptorsOfDaemon()) <= descriptors;
  await eventually(`no more than ${descriptors} descriptors`, areClosed);
});
