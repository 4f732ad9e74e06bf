// What several tests do to a function, and what the platform may do about it: calls that do not wait
// for each other, sudden deaths, calls without end, starts that keep their distance.
import assert from "node:assert/strict";
import { eventually, sleep } from "./platform.mjs";

const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);

// An open loop: `call` so many times a second, whether or not the earlier ones were answered.
export async function openLoop(perSecond, seconds, call) {
  const calls = [];
  const began = Date.now();
  while (calls.length < perSecond * seconds) {
    const due = Math.min(perSecond * seconds, ((Date.now() - began) * perSecond) / 1000);
    while (calls.length < due) calls.push(call());
    await sleep(1);
  }
  return Promise.all(calls);
}

// Kills one of `candidates()` a second until `work` is done. Gives what came of it, and the number
// of kills.
async function killEverySecond(candidates, work) {
  let done = false;
  const result = work.finally(() => (done = true));
  let kills = 0;
  for (let second = 0, pids = []; !done; ++second) {
    // To look for them takes a while in which no call is made, and then those come all at once: it is
    // done rarely, and not just before a kill.
    if (second % 8 === 0) pids = candidates();
    await Promise.race([sleep(1000), result]);
    if (!done && killOneOf(pids)) ++kills;
  }
  return { result: await result, kills };
}

// Whoever is drawn leaves `pids`; some are no longer there.
function killOneOf(pids) {
  while (pids.length > 0) {
    const [pid] = pids.splice(Math.floor(Math.random() * pids.length), 1);
    if (killIfThere(pid)) return true;
  }
  return false;
}

function killIfThere(pid) {
  try {
    return process.kill(Number(pid), "SIGKILL");
  } catch {
    return false; // It went by itself.
  }
}

const mayHaveRun = ({ status, text }) =>
  status === 502 && /may have run|before it had answered/.test(JSON.parse(text).error.message);

// Z7: 200 calls a second by `quick` while one of `candidates()` is killed each second. Those fail that
// were in it, or came to it as it died, and no other: among several instances hardly any. To show that
// a kill does fail a call, all are killed while `long` runs.
export async function outliveKills(candidates, { quick, long }) {
  await eventually("several are there", () => candidates().length >= 24, 60_000);
  const seconds = nightly ? 60 : 15;
  const { result: answers, kills } = await killEverySecond(candidates, openLoop(200, seconds, quick));
  const failed = answers.filter(({ status }) => status !== 200);
  failed.forEach((each) => assert.ok(mayHaveRun(each), each.text));
  console.log(`${failed.length} of ${answers.length} calls failed by ${kills} kills`);
  assert.ok(kills >= 0.7 * seconds, `${kills} kills`);  // At some seconds there is nobody.
  assert.ok(failed.length <= answers.length / 1000, `${failed.length} failed`);

  const running = long();
  await sleep(300);
  candidates().forEach(killIfThere);
  const met = await running;
  assert.ok(mayHaveRun(met), met.text);
}

// In waves, each of these bodies at once: `name` answers none of them in its `timeout` (ms), each call
// is told so, or that it never began, and what ran it is gone within a second of that. A wave of which
// none began, as on a busy host, does not count, and is made again.
export async function outlive(platform, name, bodies, { timeout, waves, headers }) {
  let ran = 0; // Waves of which something ran.
  for (let wave = 0; ran < waves && wave < 2 * waves; ++wave) {
    const began = performance.now();
    const answers = await Promise.all(bodies.map((body) => platform.invoke(name, body, headers)));
    for (const { status, text } of answers) {
      const neverBegan = status === 429 && text.includes("waiting for an instance");
      assert.ok(status === 504 || neverBegan, `${status} ${text}`);
    }
    ran += answers.some(({ status }) => status === 504);
    await eventually("they are gone", () => platform.isIdle(name));
    const took = performance.now() - began;
    assert.ok(took <= timeout + 1000, `wave ${wave}: gone after ${took.toFixed(0)} ms`);
  }
  assert.equal(ran, waves, "waves of which something ran");
}

// How many times a start that fails may be tried in so many milliseconds: 1, 2, 4, … s apart.
export function triesWithin(ms) {
  let tries = 1;
  for (let at = 1000, pause = 2000; at < ms; at += pause, pause *= 2) ++tries;
  return tries;
}
