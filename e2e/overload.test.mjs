// More than can be done: what is refused is refused at once, and afterwards everything is as before.
// O1, O11, and one slow reader.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import net from "node:net";
import { readFileSync } from "node:fs";
import { Platform, eventually, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
let platform;
before(async () => (platform = await Platform.start({ blanks: 2 })));
after(() => platform.stop({ seen: true }));

const percentile = (values, p) => values.sort((a, b) => a - b)[Math.floor(values.length * p)];

test("O1: at ten times its capacity it refuses at once, and serves as before", async () => {
  const slots = 4;
  await platform.deployProbe("busy", { max_instances: 1, concurrency: slots, queue: 16 });
  await platform.invoke("busy", "echo up");
  // Its peak: as many clients as slots, no queue.
  let stop = false;
  let peak = 0;
  const client = async () => {
    for (; !stop; ++peak) await platform.invoke("busy", "sleep 100");
  };
  const clients = Array.from({ length: slots }, client);
  const measured = 2;
  await sleep(measured * 1000);
  stop = true;
  await Promise.all(clients);
  const capacity = peak / measured;

  const seconds = nightly ? 60 : 15;
  const calls = [];
  const healthy = []; // How long what asks no function takes: the machine's own lag.
  const began = Date.now();
  for (let sent = 0; Date.now() - began < seconds * 1000;) {
    const due = ((Date.now() - began) * capacity * 10) / 1000;
    for (; sent < due; ++sent) {
      const at = performance.now();
      if (sent % 10 === 0) {
        const health = platform.request("GET", "/v2/health/live");
        healthy.push(health.then(() => performance.now() - at));
      }
      calls.push(
        platform.invoke("busy", "sleep 100").then(({ status, headers }) => ({
          status,
          retry: headers["retry-after"],
          ms: performance.now() - at,
        })),
      );
    }
    await sleep(2);
  }
  const answers = await Promise.all(calls);
  const served = answers.filter(({ status }) => status === 200);
  const refused = answers.filter(({ status }) => status === 429 || status === 503);
  assert.equal(served.length + refused.length, answers.length, "nothing but served and refused");
  assert.ok(refused.length > served.length);
  assert.ok(refused.every(({ retry }) => Number(retry) >= 1));
  const goodput = served.length / (capacity * seconds);
  assert.ok(goodput >= 0.9, `${served.length} served: ${goodput.toFixed(2)} of the peak`);
  // 50 ms beyond what any request takes here and now: the client and others share the cores.
  const lag = percentile(await Promise.all(healthy), 0.99);
  const late = percentile(
    refused.map(({ ms }) => ms),
    0.99,
  );
  assert.ok(
    late <= lag + 50,
    `p99 of refusals ${late.toFixed(1)} ms, of health ${lag.toFixed(1)} ms`,
  );
});

test("O11: out of descriptors it refuses, does not spin, and recovers", async () => {
  const narrow = await Platform.start({ prefix: ["prlimit", "--nofile=1100:1100"] });
  await narrow.deployProbe("echo");
  const sockets = Array.from({ length: 2500 }, () => {
    const socket = net.createConnection(narrow.port, "127.0.0.1");
    socket.on("error", () => {});
    return socket;
  });
  await sleep(300);
  const ticks = () => {
    const fields = readFileSync(`/proc/${narrow.daemonPid()}/stat`, "utf8")
      .split(") ")[1]
      .split(" ");
    return Number(fields[11]) + Number(fields[12]);
  };
  const before = ticks();
  await sleep(1000);
  assert.ok(ticks() - before < 20, `${ticks() - before} % of a core while it is full`);
  for (const socket of sockets) socket.destroy();
  await eventually(
    "it answers again",
    async () => {
      const { text } = await narrow.invoke("echo", "echo back").catch(() => ({}));
      return text === "back";
    },
    3000,
  );
  await narrow.stop();
});

test("one slow reader of a stream stalls nobody, and costs one window", async () => {
  await platform.deployProbe("streams", { concurrency: 9, timeout: "60s" });
  await platform.invoke("streams", "echo up");
  const kib = 8192;
  const seven = async () => {
    const began = performance.now();
    const streams = Array.from({ length: 7 }, () => platform.invoke("streams", `stream ${kib}`));
    for (const { status, body, headers } of await Promise.all(streams)) {
      assert.equal(status, 200);
      assert.equal(body.length, kib << 10);
      assert.equal(headers["transfer-encoding"], "chunked");
    }
    return performance.now() - began;
  };
  await seven();
  const quiet = [];
  const stalled = [];
  let most = 0;
  for (let round = 0; round < 5; ++round) {
    quiet.push(await seven());
    const before = platform.memoryOfDaemon();
    const slow = net.createConnection(platform.port, "127.0.0.1");
    const body = `stream ${kib}`;
    slow.write(
      `POST /f/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n` +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    slow.pause();
    await sleep(100);
    most = Math.max(most, platform.memoryOfDaemon() - before);
    stalled.push(await seven());
    slow.destroy();
    await eventually(
      "its slot is free",
      async () => (await platform.status("streams")).running === 0,
    );
  }
  assert.ok(most <= 1 << 20, `a reader that does not read costs ${most} bytes`);
  // 0.95× where nothing else runs; here the streams' reader has the same two cores.
  const ratio = percentile(quiet, 0.5) / percentile(stalled, 0.5);
  assert.ok(ratio >= 0.7, `the other seven have ${ratio.toFixed(2)} of their throughput`);
});
