// Z2: from zero to 700 calls a second, at once for functions that are forked and for those that are
// started. Alone: nobody else may take the processor that they need.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { deployForked, json, sleepy } from "./forked.mjs";
import { openLoop } from "./load.mjs";
import { Platform, sleep } from "./platform.mjs";

const seconds = process.env.DORMOUSE_NIGHTLY ? 30 : 10;
const perSecond = 700;
let platform;
before(async () => (platform = await Platform.start({ blanks: 3 })));
after(() => platform.stop({ seen: true }));

const most = 16;

// Of `name`, until `work` is done: the most instances there were, and how often there was none.
async function watch(name, work) {
  let done = false;
  const result = work.finally(() => (done = true));
  let instances = 0;
  let activations = 0;
  let wasAwake = false;
  for (; !done; await sleep(20)) {
    const now = await platform.status(name);
    const { busy, dozing } = now.instances;
    instances = Math.max(instances, busy + dozing);
    const isAwake = busy + dozing > 0;
    if (isAwake && !wasAwake) ++activations;
    wasAwake = isAwake;
  }
  return { answers: await result, instances, activations };
}

async function rush(name, call) {
  await platform.asleep(name);
  const { answers, instances, activations } = await watch(name, openLoop(perSecond, seconds, call));
  const failed = answers.filter(({ status }) => status !== 200);
  assert.deepEqual(failed.map(({ status, text }) => `${status} ${text}`), []);
  assert.equal(answers.length, perSecond * seconds);
  assert.equal(activations, 1, "activations");
  assert.ok(instances >= 2 && instances <= most, `${instances} instances`);
  return answers;
}

test("Z2: from zero to 700 calls a second, none fails", { concurrency: true }, async (t) => {
  await Promise.all([
    t.test("of a function that is forked", async () => {
      const more = { keep_alive: "2s", template_keep_alive: "100ms", max_instances: most };
      await deployForked(platform, "forked", sleepy, more);
      const answers = await rush("forked", () => platform.invoke("forked", "2", json));
      const pids = new Set(answers.map(({ text }) => text));
      assert.ok(pids.size <= most, `${pids.size} forks answered`);
    }),
    t.test("of one that is started", async () => {
      await platform.deployProbe("started", { concurrency: 1, keep_alive: "2s", max_instances: most });
      await rush("started", () => platform.invoke("started", "sleep 2"));
    }),
  ]);
});
