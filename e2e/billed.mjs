// L3: what a call is billed, and what its function measured itself.
import assert from "node:assert/strict";

// In ms, of its run before that is rounded up, and what its function measured.
export function differenceOf(measured, headers) {
  const run = Number(/\brun;dur=([\d.]+)/.exec(headers["server-timing"])[1]);
  const billed = Number(headers["dormouse-billed-ms"]);
  assert.equal(billed, Math.ceil(run), headers["server-timing"]);
  assert.ok(billed >= measured, `${billed} ms billed, ${measured} ms measured`);
  return Math.abs(run - measured);
}

// Most, not all: on a loaded machine either side may wait.
export const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
