// What programs do to themselves and to the platform, those that speak the Runtime API and those
// that dormouse.h forks: it costs their own call, and no other. S4, S6, S17.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, compileNative, eventually } from "./platform.mjs";

// All of 10 GiB goes from one process to the other, in 20 s; a program's that dormouse.h forks does not.
const nightly = Boolean(process.env.DORMOUSE_NIGHTLY);
const sentGiB = nightly ? 10 : 1;
const printedMiB = nightly ? 1024 : 256;

// Both do what the body of a call says, and answer with it.
const speaks = `#!/usr/bin/python3 -IS
import http.client, os, time
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
calls = "/2018-06-01/runtime/invocation/"

def ask(method, path, body=None):
    api.request(method, calls + path, body, {"Content-Type": "text/plain"})
    answer = api.getresponse()
    return answer.headers, answer.read()

def act(deed):
    if deed == b"close streams": os.closerange(0, 3)
    if deed == b"print":
        for _ in range(${printedMiB}): os.write(1, b"p" * 1048575 + b"\\n")
    if deed == b"answer too much": return [bytes(1 << 20)] * (${sentGiB} << 10)
    if deed == b"sleep": time.sleep(60)
    return deed

while True:
    head, deed = ask("GET", "next")
    ask("POST", head["Lambda-Runtime-Aws-Request-Id"] + "/response", act(deed))
`;
const forks = `#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "dormouse.h"

static struct dormouse_call call;
static int is(const char* deed) {
  return call.size == strlen(deed) && memcmp(call.body, deed, call.size) == 0;
}
static int print(void) {
  static char line[1 << 20];
  memset(line, 'p', sizeof line), line[sizeof line - 1] = '\\n';
  for (int mib = 0; mib < ${printedMiB}; ++mib)
    if (write(1, line, sizeof line) != sizeof line) return -1;
  return 0;
}
int main(void) {
  if (dormouse_template() != 0) return 1;
  while (dormouse_next(&call) == 1) {
    const void* answer = call.body;
    size_t size = call.size;
    if (is("close streams")) close(0), close(1), close(2);
    if (is("print") && print() != 0) return 1;
    if (is("answer too much")) {
      size = (size_t)10 << 30;
      answer = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (answer == MAP_FAILED) return 1;
    }
    if (is("sleep")) sleep(60);
    dormouse_answer(&call, "text/plain", answer, size);
  }
  return 0;
}
`;

const kinds = {
  speaks: {
    what: "speaks the Runtime API",
    template: /^no: it speaks the Lambda Runtime API/,
    tooLong: new RegExp(`the answer has ${sentGiB * 2 ** 30} bytes, the limit is 67108864`),
  },
  forks: {
    what: "dormouse.h forks",
    template: /^yes$/,
    tooLong: /the answer has 10737418240 bytes, the limit is 67108864/,
  },
};

let platform;
const programs = { speaks };
before(async () => {
  // So that it is printed in seconds, and not in minutes.
  platform = await Platform.start({ config: "logs: { rate: 160MiB }\n" });
  const folder = path.join(platform.dir, "forks");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "native.c"), forks);
  if (compileNative(folder)) programs.forks = readFileSync(path.join(folder, "bootstrap"));
  await deploy("tame", "speaks");
});
after(() => platform.stop());

async function deploy(name, kind, more = {}) {
  const manifest = { name, runtime: "executable", memory: "256MiB", ...more };
  const done = await platform.deploy(manifest, { bootstrap: programs[kind] });
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", name)).function.revision;
  assert.match(notes.template, kinds[kind].template);
}

async function tameStillAnswers() {
  assert.equal((await platform.invoke("tame", "still")).text, "still");
}

// Gives what `work` gives. The daemon may grow by 16 MiB meanwhile.
async function sparingly(work) {
  const before = platform.memoryOfDaemon();
  let grown = 0;
  const look = () => (grown = Math.max(grown, platform.memoryOfDaemon() - before));
  const looks = setInterval(look, 25);
  const result = await work().finally(() => clearInterval(looks));
  look();
  assert.ok(grown <= 16 << 20, `the daemon has grown by ${grown} bytes`);
  return result;
}

for (const [kind, { what, tooLong }] of Object.entries(kinds)) {
  test(`what a program that ${what} does to itself costs its own call, and no other`, async (t) => {
    if (!programs[kind]) return t.skip("there is no C compiler");
    const wild = `wild-${kind}`, late = `late-${kind}`;
    await deploy(wild, kind, { timeout: "2m" });
    await deploy(late, kind, { timeout: "3s" });
    for (const [deed, status, said] of [
      ["close streams", 200, /^close streams$/],
      ["nothing", 200, /^nothing$/],
      ["answer too much", 502, tooLong],
      ["nothing", 200, /^nothing$/],
    ]) {
      const answer = await sparingly(() => platform.invoke(wild, deed));
      assert.equal(answer.status, status, `${deed}: ${answer.text}`);
      assert.match(answer.text, said);
      await tameStillAnswers();
    }
    const slept = await platform.invoke(late, "sleep");
    assert.equal(slept.status, 504, slept.text);
    await tameStillAnswers();
    await eventually("it is gone", () => platform.isIdle(late));
    assert.equal((await platform.invoke(late, "nothing")).text, "nothing");
  });
}

test("S6: of what each prints without end little is kept, on disk and in the daemon", async () => {
  const printing = Object.keys(programs).map((kind) => `prints-${kind}`);
  for (const name of printing) {
    await deploy(name, name.slice("prints-".length), { timeout: "2m" });
    await platform.invoke(name, "nothing");
  }
  const print = (name) => platform.invoke(name, "print");
  for (const { status, text } of await sparingly(() => Promise.all(printing.map(print)))) {
    assert.deepEqual([status, text], [200, "print"], text);
  }
  await tameStillAnswers();
  const logs = path.join(platform.data, "logs");
  for (const name of printing) {
    const files = readdirSync(logs).filter((file) => file.startsWith(`${name}.`));
    const bytes = files.reduce((sum, file) => sum + statSync(path.join(logs, file)).size, 0);
    assert.ok(bytes > 1 << 20 && bytes <= 16 << 20, `${name}: ${bytes} bytes of log`);
  }
});
