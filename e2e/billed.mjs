// L3: what a call is billed, and what its function measured itself.
import assert from "node:assert/strict";
import { sleep } from "./platform.mjs";

// In ms, of its run before that is rounded up, and what its function measured.
export function differenceOf(measured, headers) {
  const run = Number(/\brun;dur=([\d.]+)/.exec(headers["server-timing"])[1]);
  const billed = Number(headers["dormouse-billed-ms"]);
  assert.equal(billed, Math.ceil(run), headers["server-timing"]);
  assert.ok(billed >= measured, `${billed} ms billed, ${measured} ms measured`);
  return Math.abs(run - measured);
}

// Calls until it is within a millisecond: on a loaded machine either side may wait. Gives how far the
// first time was off. `call` gives what the function measured, in ms, and the headers.
export async function expectAsMeasured(call, ms) {
  const differences = [];
  for (let tries = 0; tries < 10; ++tries) {
    const { measured, headers } = await call(ms);
    differences.push(differenceOf(measured, headers));
    if (differences.at(-1) <= 1) return differences[0];
    await sleep(20 * tries);
  }
  assert.fail(`a run of ${ms} ms was billed otherwise than measured, by ${differences} ms`);
}

// Also of the first times, without another try.
export const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
