// What several tests do to a function, and what the platform may do about it: calls that do not wait
// for each other, sudden deaths, starts that keep their distance.
import { sleep } from "./platform.mjs";

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
export async function killEverySecond(candidates, work) {
  let done = false;
  const result = work.finally(() => (done = true));
  let kills = 0;
  while (!done) {
    await Promise.race([sleep(1000), result]);
    const pids = done ? [] : candidates();
    const pid = pids[Math.floor(Math.random() * pids.length)];
    try {
      if (pid && process.kill(Number(pid), "SIGKILL")) ++kills;
    } catch {} // It went by itself.
  }
  return { result: await result, kills };
}

// How many times a start that fails may be tried in so many milliseconds: 1, 2, 4, … s apart.
export function triesWithin(ms) {
  let tries = 1;
  for (let at = 1000, pause = 2000; at < ms; at += pause, pause *= 2) ++tries;
  return tries;
}
