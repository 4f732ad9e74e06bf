// What a function tries against the platform and its neighbours: each gets a reasoned answer, and
// nobody else notices. S4, S5, S6, S13, S15, S17, O7.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import net from "node:net";
import { Platform, eventually, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
let platform;
before(async () => {
  platform = await Platform.start({ blanks: 2 });
  await platform.deployProbe("bad", { timeout: "2s", keep_alive: "30s" });
  await platform.deployProbe("good", { keep_alive: "60s", timeout: "10s" });
  assert.equal((await platform.invoke("good", "echo up")).text, "up");
});
after(async () => {
  assert.deepEqual(await platform.kill("SIGTERM"), { code: 0, signal: null });
  const verdict = await platform.oracle([], { seen: false }); // Misdeeds log no attempt.
  assert.ok(verdict.holds, verdict.said);
  assert.deepEqual(platform.leftovers(), []);
  platform.remove();
});

async function goodStillAnswers() {
  assert.equal((await platform.invoke("good", "echo still")).text, "still");
}

test("S4: using more memory than declared is an OutOfMemory, and the sibling lives", async () => {
  const { status, text } = await platform.invoke("bad", "oom 500");
  assert.equal(status, 502, text);
  assert.match(JSON.parse(text).error.message, /OutOfMemory/);
  await goodStillAnswers();
});

test("S5: /tmp is full at its size, and empty in the next instance", async () => {
  await platform.deployProbe("filler", { memory: "256MiB" });
  const { status, text } = await platform.invoke("filler", "fill");
  assert.equal(status, 200, text);
  assert.match(text, /^\d+ bytes: No space left on device$/);
  assert.ok(Number.parseInt(text) <= 64 << 20, text);
});

test("S6: a flood of output is bounded, and does not stop its function", async () => {
  const { status, text } = await platform.invoke("good", `print ${(nightly ? 1000 : 40) << 20}`);
  assert.equal(status, 200, text);
  const lines = await eventually("the log", async () => {
    const { stdout } = await platform.cli("logs", "good", "-n", "50");
    return stdout.length > 0 && stdout;
  });
  assert.match(lines, /ppp/);
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
  const uid = (text) => /uid (\d+)/.exec(text)[1];
  assert.ok(uid((await platform.invoke("good", "pid")).text));
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

test("O7: what spins, stops itself or will not listen is gone soon after its timeout", async () => {
  await platform.deployProbe("deaf", { timeout: "300ms", concurrency: 1 });
  const rounds = nightly ? 200 : 12;
  for (let round = 0; round < rounds; ++round) {
    const how = ["spin", "stop", "ignore-term"][round % 3];
    const began = Date.now();
    const { status } = await platform.invoke("deaf", how);
    assert.equal(status, 504);
    assert.ok(Date.now() - began < 300 + 2000, `${how}: ${Date.now() - began} ms`);
  }
  await eventually("no instance is left", async () => {
    const { instances } = await platform.status("deaf");
    return instances.busy + instances.stopping + instances.dozing === 0;
  });
});

test("an orphan of a function does not outlive its instance", async () => {
  await platform.deployProbe("parent", { keep_alive: "100ms" });
  assert.equal((await platform.invoke("parent", "orphan")).text, "left");
  await eventually("asleep", async () => {
    const { state, memory_bytes } = await platform.status("parent");
    return state === "asleep" && memory_bytes === 0;
  });
});

test("one slow reader of a stream stalls nobody, and costs one window", async () => {
  await platform.deployProbe("streams", { concurrency: 9, timeout: "30s" });
  await platform.invoke("streams", "echo up");
  const memory = () => platform.memoryOfDaemon();
  const slow = net.createConnection(platform.port, "127.0.0.1");
  const body = "stream 4096";
  slow.write(
    `POST /f/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  slow.pause();
  await sleep(200);
  const before = memory();
  const streams = Array.from({ length: 7 }, () => platform.invoke("streams", "stream 4096"));
  for (const { status, body: got, headers } of await Promise.all(streams)) {
    assert.equal(status, 200);
    assert.equal(got.length, 4096 << 10);
    assert.equal(headers["transfer-encoding"], "chunked");
  }
  assert.ok(memory() - before < 16 << 20, `${memory() - before} bytes more`);
  slow.destroy();
  await eventually("its slot is free", async () => (await platform.status("streams")).running === 0);
});
