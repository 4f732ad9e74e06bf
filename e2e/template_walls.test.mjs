// What a template may do and its forks may not, and what is done to its process while it loads.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { eventually } from "./platform.mjs";
import { deployPython, startPlatform } from "./pythons.mjs";

let platform;
before(async () => (platform = await startPlatform()));
after(() => platform.stop());

async function deployForked(name, code, more) {
  const { revision } = await deployPython(platform, name, code, more);
  assert.equal(revision.notes.template, "yes");
}

const statusOf = (pid) => {
  const lines = readFileSync(`/proc/${pid}/status`, "utf8").matchAll(/^(\w+):\s+(.*)$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name, value]));
};
const wallsOf = (pid) => {
  const { CapEff, CapPrm, Seccomp, NoNewPrivs } = statusOf(pid);
  return [`0x${CapEff}`, `0x${CapPrm}`, Seccomp, NoNewPrivs].map(Number);
};

function isPython(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("/usr/bin/python3");
  } catch {
    return false; // It ended meanwhile.
  }
}

test("a template may put forks into their slots, and no more; a fork may nothing", async () => {
  const code = "import os\ndef handler(event, context): return os.getpid()";
  await deployForked("walled", code, { min_instances: 1 });
  const inner = await platform.callJson("walled");
  const instance = platform.forks().find((pid) => statusOf(pid).NSpid.endsWith(`\t${inner}`));
  const sandbox = readFileSync(`/proc/${instance}/cgroup`, "utf8").match(/([^:\n]+)\/slot-/)[1];
  // A fork is the template's until it is in its slot. A blank sandbox is another one.
  const [template] = await eventually("no process but the template is in no slot", () => {
    const forks = platform.forks();
    const others = platform.inGroups(sandbox).filter((pid) => !forks.includes(pid) && isPython(pid));
    return others.length === 1 && others;
  });
  const [setgid, setuid, chroot] = [6, 7, 18].map((number) => 1 << number);
  const kept = setgid | setuid | chroot;
  assert.deepEqual(wallsOf(template), [kept, kept, 2, 1]);
  assert.equal(statusOf(instance).PPid, template);
  assert.deepEqual(wallsOf(instance), [0, 0, 2, 1]);
});

test("what a template has loaded is frozen: a collection in a fork does not touch it", async () => {
  const code = `import gc
loaded = gc.get_freeze_count()
def handler(event, context): return [loaded, gc.get_freeze_count()]`;
  await deployForked("frozen", code);
  const [loaded, frozen] = await platform.callJson("frozen");
  assert.equal(loaded, 0);
  assert.ok(frozen > 0, `${frozen} objects are frozen`);
});

test("numeric libraries are told to use one thread until they are loaded", async () => {
  const names = ["OMP", "OPENBLAS", "MKL", "NUMEXPR"].map((library) => `${library}_NUM_THREADS`);
  const code = `import os
def told(): return [os.environ.get(name) for name in ${JSON.stringify(names)}]
loading = told()
def before_template(): loading.extend(told())
def handler(event, context): return [loading, told()]`;
  for (const [name, env, expected] of [
    ["untold", {}, [null, null, null, null]],
    ["told", { OMP_NUM_THREADS: "3", MKL_NUM_THREADS: "2" }, ["3", null, "2", null]],
  ]) {
    await deployForked(name, code, { env });
    assert.deepEqual(await platform.callJson(name), [Array(8).fill("1"), expected]);
  }
});

// What hangs, and what is said of it; the third is out of the interpreter's hands.
const hanging = [
  [
    "import",
    "import time\nwhile True:\n  try: time.sleep(3600)\n  except Exception: pass\ndef handler(event, context): return 1",
    /importing app\.handler: it was not done after 0\.9\d* s: it is in app\.py line 3: try: time\.sleep\(3600\)/,
  ],
  [
    "hook",
    "import time\ndef before_template():\n  time.sleep(3600)\ndef handler(event, context): return 1",
    /before_template: it was not done after 0\.9\d* s: it is in app\.py line 3: time\.sleep\(3600\)/,
  ],
  [
    "deaf",
    "import signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ntime.sleep(3600)",
    /it was not done within its start_timeout/,
  ],
];
for (const [what, code, said] of hanging) {
  test(`what hangs at start ends the deploy after start_timeout, and is named: ${what}`, async () => {
    const manifest = { name: "hangs", runtime: "python", handler: "app.handler", start_timeout: "1s" };
    const began = performance.now();
    const done = await platform.deploy(manifest, { "app.py": code });
    const took = performance.now() - began;
    assert.equal(done.code, 1);
    assert.match(done.stderr, said);
    assert.ok(took >= 900 && took < 10_000, `ended after ${took.toFixed(0)} ms`);
    assert.equal(await platform.status("hangs"), undefined);
  });
}
