// Secrets: into functions and to nobody else, from the command line to the last process.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHmac } from "node:crypto";
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { Platform, compileNative, eventually, program, repository, sleep } from "./platform.mjs";

let platform;
before(async () => (platform = await Platform.start()));
after(() => platform.stop());

const json = { "content-type": "application/json" };

// What `dormouse secret …` says, with `input` on its standard input.
function secret(args, input = "") {
  const env = { ...process.env, DORMOUSE_URL: platform.url };
  const ran = spawnSync(program, ["secret", ...args], { env, input, encoding: "utf8" });
  return { code: ran.status, stdout: ran.stdout, stderr: ran.stderr };
}

function set(name, value) {
  const done = secret(["set", name], value + "\n");
  assert.equal(done.code, 0, done.stderr);
  return done.stdout;
}

async function deploy(manifest, files) {
  const done = await platform.deploy(manifest, files);
  assert.equal(done.code, 0, done.stderr);
  return (await platform.json("show", manifest.name)).function.revision;
}

const deployPython = (name, code, secrets, more = {}) =>
  deploy(
    { name, runtime: "python", handler: "app.handler", memory: "128MiB", secrets, ...more },
    { "app.py": code },
  );

async function call(name, event = null) {
  const answer = await platform.invoke(name, JSON.stringify(event), json);
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text);
}

// What was there as the code was loaded, and what is there as it is called.
const confiding = (...names) => `import os
def look():
    return {k: os.environ.get(k) for k in ${JSON.stringify(names)}}
loaded = look()
def after_fork():
    global begun
    begun = look()
def handler(event, context):
    return {"loaded": loaded, "begun": begun, "called": look()}
`;

test("set, list and rm: by standard input, a file, or unseen on a terminal", async () => {
  assert.equal(set("FIRST", "one"), "FIRST is set, version 1\n");
  assert.equal(set("FIRST", "two"), "FIRST is set, version 2\n");
  const file = path.join(platform.dir, "value");
  writeFileSync(file, "three\n");
  assert.equal(secret(["set", "from.file", "--from-file", file]).code, 0);
  const { secrets } = await platform.json("secret", "list");
  assert.deepEqual(
    secrets.map(({ name, version, functions }) => ({ name, version, functions })),
    [
      { name: "FIRST", version: 2, functions: [] },
      { name: "from.file", version: 1, functions: [] },
    ],
  );
  assert.equal(secret(["set", "FIRST", "in-argv"]).code, 2);
  assert.equal(secret(["set", "1st"], "x").code, 6);
  assert.equal(secret(["set", "EMPTY"], "\n").code, 6);
  for (const name of ["FIRST", "from.file"]) assert.equal(secret(["rm", name]).code, 0);
  assert.equal(secret(["rm", "FIRST"]).code, 5);

  const terminal = spawn("script", ["-qec", `${program} secret set TYPED`, "/dev/null"], {
    env: { ...process.env, DORMOUSE_URL: platform.url },
  });
  let shown = "";
  terminal.stdout.on("data", (text) => {
    if (!shown.includes("not shown") && `${shown}${text}`.includes("not shown")) {
      terminal.stdin.write("typed-and-unseen\n");
    }
    shown += text;
  });
  assert.equal(await new Promise((resolve) => terminal.on("exit", resolve)), 0);
  assert.match(shown, /TYPED is set, version 1/);
  assert.doesNotMatch(shown, /unseen/);
  await deployPython("typed", confiding("TYPED"), { TYPED: "late" });
  assert.equal((await call("typed")).called.TYPED, "typed-and-unseen");
});

test("a deploy names the secret that there is not, and how to set it", async () => {
  const manifest = { name: "lacking", runtime: "python", handler: "app.handler" };
  const code = { "app.py": confiding("A") };
  const lacks = await platform.deploy({ ...manifest, secrets: { A: { secret: "none" } } }, code);
  assert.equal(lacks.code, 6);
  assert.match(lacks.stderr, /"A": there is no secret "none"; set it with `dormouse secret set none`/);
  const twice = await platform.deploy({ ...manifest, env: { A: "1" }, secrets: { A: "late" } }, code);
  assert.match(twice.stderr, /secrets: "A" is in env, too/);
  const model = await platform.deploy({ name: "m", runtime: "onnx", secrets: { A: "late" } }, code);
  assert.match(model.stderr, /secrets: a model of the runtime onnx has no code/);
});

test("Python: `init` is there at import, `late` from after_fork on", async () => {
  set("l", "ä late value");
  set("i", "two\nlines");
  const shown = await deployPython("confides", confiding("LATE", "INIT"), {
    LATE: { secret: "l" },
    INIT: { secret: "i", when: "init" },
  });
  assert.equal(shown.notes.template, "yes");
  assert.deepEqual(shown.manifest.secrets, {
    INIT: { secret: "i", when: "init" },
    LATE: { secret: "l", when: "late" },
  });
  const there = { LATE: "ä late value", INIT: "two\nlines" };
  assert.deepEqual(await call("confides"), {
    loaded: { LATE: null, INIT: "two\nlines" },
    begun: there,
    called: there,
  });
  const used = secret(["rm", "l"]);
  assert.equal(used.code, 6);
  assert.match(used.stderr, /is used by confides/);
  assert.match((await platform.cli("show", "confides")).stdout, /secrets\.LATE\s+l, late/);
});

test("code that reads a late secret at import is loaded for each instance, and `show` says so", async () => {
  const code = `import os
KEY = os.environ["l"]
def handler(event, context):
    return KEY`;
  const shown = await deployPython("eager", code, { l: "late" });
  assert.match(shown.notes.template, /^no: without its late secrets.*KeyError: 'l'.*declare `init`/);
  assert.equal(await call("eager"), "ä late value");
});

test("any program: both are in its environment when it starts", async () => {
  const bootstrap = `#!/bin/sh
set -eu
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
said="$LATE and $INIT"
while true; do
  id=$(curl -fsS -D - -o /dev/null "$api/next" | tr -d '\\r' |
    awk 'tolower($1) == "lambda-runtime-aws-request-id:" { print $2 }')
  curl -fsS -o /dev/null --data-binary "\\"$said\\"" "$api/$id/response"
done`;
  set("plain", "init value");
  const secrets = { LATE: { secret: "l" }, INIT: { secret: "plain", when: "init" } };
  await deploy({ name: "shell", runtime: "executable", secrets }, { bootstrap });
  assert.equal(await call("shell"), "ä late value and init value");
});

test("a program with dormouse.h: `late` after the fork, and never in its template", async (t) => {
  const folder = path.join(platform.dir, "native");
  mkdirSync(folder);
  writeFileSync(
    path.join(folder, "dormouse.yaml"),
    `name: native
runtime: executable
memory: 64MiB
secrets: { LATE: { secret: l }, OTHER: { secret: plain }, INIT: { secret: plain, when: init } }
`,
  );
  writeFileSync(
    path.join(folder, "native.c"),
    `#include <stdio.h>
#include <stdlib.h>
#include "dormouse.h"
static const char *of(const char *name) { return getenv(name) ? getenv(name) : "nothing"; }
int main(void) {
  char loaded[100], all[300];
  snprintf(loaded, sizeof loaded, "%s, %s", of("LATE"), of("INIT"));
  if (dormouse_template() != 0) return 1;
  for (struct dormouse_call call; dormouse_next(&call) == 1;) {
    int size = snprintf(all, sizeof all, "%s; %s, %s, %s", loaded, of("LATE"), of("OTHER"), of("INIT"));
    dormouse_answer(&call, "text/plain", all, (size_t)size);
  }
  return 0;
}
`,
  );
  if (!compileNative(folder)) return t.skip("there is no C compiler");
  const done = await platform.cli("deploy", folder);
  assert.equal(done.code, 0, done.stderr);
  assert.equal((await platform.json("show", "native")).function.revision.notes.template, "yes");
  const { text } = await platform.invoke("native", "x");
  assert.equal(text, "nothing, init value; ä late value, init value, init value");
});

test("the example signs with the key that it read at import, and with a later one", async () => {
  const folder = path.join(platform.dir, "init-secret");
  cpSync(path.join(repository, "examples/init-secret"), folder, { recursive: true });
  set("SIGNING_KEY", "first key");
  const done = await platform.cli("deploy", folder);
  assert.equal(done.code, 0, done.stderr);
  assert.equal((await platform.json("show", "sign")).function.revision.notes.template, "yes");
  const signature = (key) => createHmac("sha256", key).update('{"order":7}').digest("hex");
  assert.equal((await call("sign", { order: 7 })).signature, signature("first key"));
  set("SIGNING_KEY", "second key");
  assert.equal((await call("sign", { order: 7 })).signature, signature("second key"));
});

// K8.
test("a new value is in every call that comes after it was set; none fails, none that runs changes", async () => {
  set("rotates", "0");
  const code = `import os, time
loaded = os.environ["INIT"]
def handler(event, context):
    before = os.environ["LATE"]
    if event > 0.1: print("runs with", before, flush=True)
    time.sleep(event)
    return [loaded, before, os.environ["LATE"]]`;
  const secrets = { LATE: { secret: "rotates" }, INIT: { secret: "rotates", when: "init" } };
  const limits = { max_instances: 6, timeout: "20s" };
  await deployPython("rotating", code, secrets, limits);
  let newest = 0;
  let going = true;
  const slowest = [];
  const caller = async () => {
    while (going) {
      const least = newest; // Was set before this call began.
      const values = (await call("rotating", 0.01)).map(Number);
      assert.ok(Math.min(...values) >= least, `${values} after ${least} was set`);
      assert.equal(new Set(values).size, 1, `${values}`);
    }
  };
  const callers = Array.from({ length: 4 }, caller);
  for (let version = 1; version <= 8; ++version) {
    await sleep(100);
    const runs = call("rotating", 0.6);
    const begun = `runs with ${version - 1}`;
    await eventually(begun, async () => (await platform.request("GET", "/api/v1/functions/rotating/logs")).text.includes(begun));
    const began = performance.now();
    const done = await platform.request("PUT", "/api/v1/secrets/rotates", {
      body: `${version}`,
      headers: { "content-type": "application/octet-stream" },
    });
    assert.equal(done.status, 200, done.text);
    newest = version;
    assert.deepEqual(await call("rotating", 0), Array(3).fill(`${version}`));
    slowest.push(performance.now() - began);
    assert.deepEqual(await runs, Array(3).fill(`${version - 1}`));
  }
  going = false;
  await Promise.all(callers);
  const worst = Math.max(...slowest);
  console.log(`# from setting a secret to the first answer with it: at most ${worst.toFixed(0)} ms`);
  assert.ok(worst <= 1000, `${worst} ms`);

  await deployPython("rotating", code + "\n# later", secrets, limits);
  set("rotates", "9");
  const back = await platform.cli("rollback", "rotating");
  assert.equal(back.code, 0, back.stderr);
  assert.deepEqual(await call("rotating", 0), ["9", "9", "9"]);
});

// ---- K4: where the value of a secret is, and where it is not ----

const userOf = (pid) =>
  Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);

// Empty of one that has ended.
const commandOf = (pid) => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
};

// Or a blank one, or one that is not forked: a fork has a user of its own from 2,000 on.
const isTemplate = (pid) => {
  return commandOf(pid).startsWith("/usr/bin/python3") && (userOf(pid) - 300_000) % 65_536 === 1000;
};

// How often each of `needles` is in what this process may read and write.
function countInMemory(pid, needles) {
  const counts = needles.map(() => 0);
  const memory = openSync(`/proc/${pid}/mem`, "r");
  for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
    const region = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line);
    if (!region || line.includes("[v")) continue;
    const [begin, end] = [parseInt(region[1], 16), parseInt(region[2], 16)];
    const bytes = Buffer.alloc(end - begin);
    try {
      readSync(memory, bytes, 0, bytes.length, begin);
    } catch {
      continue; // Beyond a file's end.
    }
    needles.forEach((needle, i) => {
      for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) ++counts[i];
    });
  }
  closeSync(memory);
  return counts;
}

const templatesWith = (marker) =>
  platform.inSandboxes().filter((pid) => {
    try {
      return isTemplate(pid) && countInMemory(pid, [marker])[0] > 0;
    } catch {
      return false; // It has ended meanwhile, as what only looks like a template may.
    }
  });

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.name === "sandboxes") return []; // They come and go, and are looked into from inside.
    if (entry.isDirectory()) return filesBelow(file);
    return entry.isFile() ? [file] : [];
  });
}

// Looks for the canary, which it is told in two halves, wherever a function can look.
const spy = `import os
def handler(event, context):
    canary = "".join(event).encode()
    found, looked = [], 0
    for folder, _, names in os.walk("/"):
        if folder.startswith(("/usr", "/sys")) or folder.startswith("/proc/self"): continue
        for name in names:
            if folder.startswith("/proc/") and name not in ("environ", "cmdline", "maps", "mem"): continue
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    if not name == "mem":
                        looked += 1
                        if canary in file.read(1 << 20): found.append(folder + "/" + name)
            except OSError:
                pass
    return {"found": found, "looked": looked}
`;

test("K3, K4: the value is nowhere but in its function; of a late one not even in the template", async () => {
  const halves = ["canary-5d1f8e", "-b2a97c04"];
  const canary = halves.join("");
  const keeps = (marker) => `import os
MARKER = "${marker}"
def handler(event, context):
    return len(os.environ["CANARY"])`;
  set("canary", canary);
  await deployPython("keeps-late", keeps("marker-of-late-31"), { CANARY: { secret: "canary" } });
  const init = { CANARY: { secret: "canary", when: "init" } };
  await deployPython("keeps-init", keeps("marker-of-init-32"), init);
  await deployPython("spies", spy, {});
  for (const name of ["keeps-late", "keeps-init"]) assert.equal(await call(name), canary.length);
  const spied = await call("spies", halves);
  assert.ok(spied.looked > 10, `${spied.looked} files`);
  assert.deepEqual(spied.found, []);

  // The control: where it must be, it is found.
  const memory = (marker) => {
    const templates = templatesWith(marker);
    assert.ok(templates.length > 0, `no template has ${marker}`);
    return templates.map((pid) => countInMemory(pid, [canary])[0]);
  };
  assert.ok(memory("marker-of-init-32").every((count) => count > 0));
  assert.ok(memory("marker-of-late-31").every((count) => count === 0));

  // What has it is hidden from others of its own user, and from cores; the control is a program that
  // nobody has hidden.
  await call("shell");
  const plain = platform.inSandboxes().find((pid) => /^\/bin\/sh.*\/code\/bootstrap/.test(commandOf(pid)));
  assert.equal(statSync(`/proc/${plain}/environ`).uid, userOf(plain));
  for (const pid of templatesWith("marker-of-init-32")) {
    assert.notEqual(statSync(`/proc/${pid}/environ`).uid, userOf(pid), "the template is dumpable");
  }

  const put = (name, body) =>
    platform.request("PUT", `/api/v1/secrets/${name}`, {
      body,
      headers: { "content-type": "application/octet-stream" },
    });
  const wrong = await platform.deploy(
    { name: "wrong", runtime: "python", handler: "app.handler", secrets: { A: canary } },
    { "app.py": "" },
  );
  const errors = [
    await put("canary", Buffer.from(canary + "\xff", "latin1")),
    await put("canary", canary.repeat(2000)),
    await put("1canary", canary),
    await put("canary", canary + "\0"),
  ];
  assert.deepEqual(errors.map((each) => each.status), [400, 413, 400, 400]);
  const answer = await platform.invoke("keeps-late", "null", json);
  const id = answer.headers["dormouse-invocation"];
  const said = [
    ...errors.map((each) => each.text),
    JSON.stringify(answer.headers),
    wrong.stdout + wrong.stderr,
    platform.log,
  ];
  for (const target of ["/metrics", "/api/v1/secrets", "/api/v1/functions", `/api/v1/invocations/${id}`]) {
    said.push((await platform.request("GET", target)).text);
  }
  for (const words of [["show", "keeps-late", "--json"], ["show", "keeps-init"], ["secret", "list"],
    ["revisions", "keeps-late"], ["logs", "keeps-late"], ["receipt", id]]) {
    const { code, stdout, stderr } = await platform.cli(...words);
    assert.equal(code, 0, stderr);
    said.push(stdout + stderr);
  }
  for (const text of said) assert.ok(!text.includes(canary), text);

  const files = filesBelow(platform.data);
  assert.ok(files.some((file) => readFileSync(file).includes("keeps-late")));
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    files.push(`/proc/${pid}/cmdline`, `/proc/${pid}/environ`);
  }
  const encoded = [canary, Buffer.from(canary).toString("base64").slice(0, 24), Buffer.from(canary).toString("hex")];
  for (const file of files) {
    let bytes;
    try {
      bytes = readFileSync(file);
    } catch {
      continue; // A process that has ended.
    }
    for (const form of encoded) assert.ok(!bytes.includes(form), file);
  }
});

test("K3: code that has the value of a late secret in it is not forked, and one that takes it later is given up", async () => {
  const templateOf = async (name) => (await platform.json("show", name)).function.revision.notes.template;
  const code = (key) => `KEY = "${key}"\ndef handler(event, context): return KEY`;
  const why = /the value of its secret KEY is in the memory that all forks share/;
  set("left-in-code", "sk-left-in-the-code-1");
  const late = { KEY: { secret: "left-in-code" } };
  await deployPython("careless", code("sk-left-in-the-code-1"), late);
  assert.match(await templateOf("careless"), why);
  assert.equal(await call("careless"), "sk-left-in-the-code-1");
  await deployPython("careful", code("sk-of-nobody-at-all-1"), late);
  assert.equal(await templateOf("careful"), "yes");
  assert.equal(await call("careful"), "sk-of-nobody-at-all-1");

  set("left-in-code", "sk-of-nobody-at-all-1");
  const refused = await platform.invoke("careful", "null", json);
  assert.equal(refused.status, 502, refused.text);
  assert.match(refused.text, why);
  set("left-in-code", "sk-something-else-now");
  await eventually("it is called again", async () => (await platform.invoke("careful", "null", json)).status === 200);
});

// Files go to where a program is; what a handler of the host's gets, if core_pattern is a pipe, is shut
// off by a limit of 1, not of 0.
test("K7: neither the daemon, nor a loader, nor a function leaves a core when it crashes", async () => {
  const coresHere = () => readdirSync(".").filter((name) => /^core\b/.test(name));
  const before = coresHere();
  const crash = `import os, resource, signal
def crash():
    print("limit", resource.getrlimit(resource.RLIMIT_CORE))
    os.kill(os.getpid(), signal.SIGSEGV)
`;
  const init = { CANARY: { secret: "canary", when: "init" } };
  const loader = await platform.deploy(
    { name: "loads", runtime: "python", handler: "app.handler", secrets: init }, { "app.py": `${crash}crash()` });
  assert.match(loader.stderr, /limit \(1, 1\)[^]*SIGSEGV/);
  await deployPython("crashes", `${crash}def handler(event, context): crash()`, init);
  const failed = await platform.invoke("crashes", "null", json);
  assert.equal(failed.status, 502);
  assert.match(failed.text, /signal 11|SIGSEGV|ended/);
  await eventually("its log", async () => /limit \(1, 1\)/.test((await platform.cli("logs", "crashes")).stdout));
  await call("shell");
  await call("keeps-init");
  const pids = platform.inSandboxes();
  assert.ok(pids.some((pid) => commandOf(pid).includes("/code/bootstrap")) && pids.some(isTemplate));
  const limitsOf = (pid) => {
    try {
      return readFileSync(`/proc/${pid}/limits`, "utf8");
    } catch {
      return "";
    }
  };
  let looked = 0;
  for (const pid of [platform.process.pid, ...pids]) {
    const limit = /^Max core file size +(\S+) +(\S+)/m.exec(limitsOf(pid));
    if (!limit) continue; // It has ended meanwhile.
    assert.deepEqual([limit[1], limit[2]], ["1", "1"], commandOf(pid));
    ++looked;
  }
  assert.ok(looked >= 3, `${looked} processes`);
  await platform.kill("SIGSEGV");
  assert.deepEqual(coresHere(), before);
  await platform.serve();
  assert.equal(await call("keeps-init"), "canary-5d1f8e-b2a97c04".length);
});

test("a template that has an init secret goes when that is set anew", async () => {
  const before = templatesWith("marker-of-init-32");
  set("canary", "another value");
  assert.equal(await call("keeps-init"), "another value".length);
  await eventually("the old template is gone", () =>
    platform.inSandboxes().every((pid) => !before.includes(pid)),
  );
});

test("what does not fit is refused at deploy, and the daemon serves on", async () => {
  const manifest = { name: "large", runtime: "python", handler: "app.handler" };
  const large = Object.fromEntries(["A", "B", "C"].map((name) => [name, "x".repeat(30_000)]));
  const done = await platform.deploy({ ...manifest, env: large }, { "app.py": confiding("A") });
  assert.notEqual(done.code, 0);
  assert.match(done.stderr, /environment variables and secrets have together 90\d+ bytes; at most 65536/);
  assert.equal((await call("confides")).called.LATE, "ä late value");
});

test("secrets outlive the daemon; without the right master key it does not start, and harms nothing", async () => {
  const key = path.join(platform.data, "master.key");
  assert.equal(statSync(key).mode & 0o777, 0o600);
  const right = readFileSync(key);
  assert.deepEqual(await platform.kill("SIGTERM"), { code: 0, signal: null });

  renameSync(key, key + ".kept");
  await assert.rejects(platform.serve(), /the master key is not there: .*--master-key-file/);
  writeFileSync(key, Buffer.alloc(32, 7), { mode: 0o600 });
  await assert.rejects(platform.serve(), /is not the master key that the secrets in this data folder/);
  assert.deepEqual(readFileSync(key), Buffer.alloc(32, 7));
  const elsewhere = path.join(platform.dir, "key-elsewhere");
  renameSync(key + ".kept", elsewhere);
  platform.options.args = ["--master-key-file", elsewhere];
  await platform.serve();
  assert.deepEqual(readFileSync(elsewhere), right);
  assert.equal((await call("confides")).called.LATE, "ä late value");
  assert.equal((await call("sign", { order: 7 })).event.order, 7);
});

test("a record that was damaged fails its function with the reason, and no other", async () => {
  await platform.kill("SIGTERM");
  const database = path.join(platform.data, "dormouse.db");
  const tamper = "UPDATE secrets SET version = version + 1 WHERE name = 'SIGNING_KEY'";
  execFileSync("sqlite3", [database, tamper]);
  await platform.serve();
  const fails = await platform.invoke("sign", "{}", json);
  assert.equal(fails.status, 503);
  assert.match(fails.text, /record of the secret \\"SIGNING_KEY\\" was damaged; set it anew/);
  assert.equal((await call("confides")).called.LATE, "ä late value");
  set("SIGNING_KEY", "third key");
  assert.equal((await call("sign", { order: 7 })).event.order, 7);
});

test("a late TZ is the zone of the fork that is given it", async () => {
  set("zone", "Asia/Tokyo");
  const code = `import time
loaded = time.tzname[0]
def handler(event, context): return [loaded, time.tzname[0]]`;
  await deployPython("zoned", code, { TZ: { secret: "zone" } });
  assert.deepEqual(await call("zoned"), ["UTC", "JST"]);
});
