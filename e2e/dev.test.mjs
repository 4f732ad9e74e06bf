// `dormouse dev`: what is saved is deployed, what is typed is called, and nothing of it is left.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, program } from "./platform.mjs";

const python = (greeting) => `
def handler(event, context):
    print("called with", event)
    return "${greeting} " + str(event.get("name", event.get("body")) if isinstance(event, dict) else event)
`;

// One sitting, in a project's folder that Platform cleans up and looks for leftovers of.
class Sitting {
  constructor(test, files, ...args) {
    test.after(() => this.process.kill("SIGKILL") && this.ended);
    this.platform = new Platform();
    this.folder = path.join(this.platform.dir, "project");
    mkdirSync(this.folder, { recursive: true });
    this.state = path.join(this.platform.dir, "state");
    for (const [name, text] of Object.entries(files)) this.save(name, text);
    this.start(...args);
  }

  start(...args) {
    this.said = "";
    const { DORMOUSE_URL, ...env } = { ...process.env, XDG_STATE_HOME: this.state };
    this.process = spawn(program, ["dev", this.folder, ...args], { env });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on("data", (bytes) => (this.said += bytes));
    }
    this.ended = new Promise((resolve) =>
      this.process.on("exit", (code, signal) => resolve({ code, signal })),
    );
  }

  save(name, text) {
    const file = path.join(this.folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(`${file}~`, text);
    renameSync(`${file}~`, file); // As editors do it.
  }

  type(line) {
    this.process.stdin.write(`${line}\n`);
  }

  findData() {
    const [name] = readdirSync(path.join(this.state, "dormouse"));
    this.platform.data = path.join(this.state, "dormouse", name);
  }

  // What it says from here on, once that matches.
  async says(pattern, act = () => {}) {
    const from = this.said.length;
    await act();
    const rest = () => this.said.slice(from);
    await eventually(`${pattern} in what it says`, () => pattern.test(rest()), 30_000).catch((why) => {
      throw new Error(`${why.message}:\n${this.said}`);
    });
    return rest();
  }

  async endLeavingNothing(act) {
    act();
    const how = await this.ended;
    this.findData();
    assert.deepEqual(this.platform.leftovers(), [], this.said);
    return how;
  }
}

const project = (code, more = "") => ({
  "dormouse.yaml": `name: greet\nruntime: python\nhandler: app.handler\n${more}`,
  "app.py": code,
});

test("what is saved serves, and what is typed is called with it", async (t) => {
  const it = new Sitting(t, project(python("hello")));
  await it.says(/greet@1 serves, after .*\nhttp:\/\/127\.0\.0\.1:\d+\/f\/greet /);
  assert.deepEqual(readdirSync(it.folder).sort(), ["app.py", "dormouse.yaml"]); // Nothing is added.
  const called = await it.says(/(?=[^]*200 {2}application\/json)(?=[^]*"hello you")(?=[^]*\| REPORT )/, () => it.type('{"name": "you"}'));
  assert.match(called, / {2}\| called with \{'name': 'you'\}/);
  assert.doesNotMatch(called, /START RequestId/);
  // Saved and at once called: the call is the new code's.
  const saved = await it.says(/"hi you"/, () => {
    it.save("app.py", python("hi"));
    it.type("");
  });
  assert.match(saved, /^app.py changed\ngreet@2 serves/m);
  assert.match(await it.says(/cost /, () => it.type("receipt")), /greet@2/);
  assert.match(await it.says(/"hi some words"/, () => it.type("text some words")), /hi/);
  await it.says(/not understood; \?/, () => it.type("nonsense"));
  await it.says(/the last call again/, () => it.type("?"));
  // What an editor keeps beside a file is no change; a file in a new folder is one.
  it.save(".app.py.swp", "x");
  await it.says(/^new\/event.json changed\ngreet@3 serves/m, () => it.save("new/event.json", '{"name": "file"}'));
  await it.says(/"hi file"/, () => it.type(`@${path.join(it.folder, "new/event.json")}`));
  await it.says(/there is no file nothing\.json/, () => it.type("@nothing.json"));
  await it.says(/there is no file \//, () => it.type("@/"));
  // Another name is told, once, and not followed.
  const renamed = project("")["dormouse.yaml"].replace("greet", "salute");
  const told = await it.says(/greet@\d+ serves/, () => it.save("dormouse.yaml", renamed));
  assert.match(told, /^dormouse.yaml calls it salute now; this goes on with greet until `dormouse dev` is started again$/m);
  const again = await it.says(/greet@\d+ serves/, () => it.save("dormouse.yaml", renamed + "memory: 300MiB\n"));
  assert.doesNotMatch(again, /salute/);
  const how = await it.endLeavingNothing(() => it.type("quit"));
  assert.deepEqual(how, { code: 0, signal: null });
  it.platform.remove();
});

test("what does not start says why, and what served before still does", async (t) => {
  const it = new Sitting(t, project("import nosuch\n"));
  const failed = await it.says(/save a change to try again/);
  assert.match(failed, / {2}\| {3}File "\/code\/app.py", line 1, in <module>\n {2}\| {5}import nosuch/);
  assert.match(failed, /dormouse: starting greet: .*No module named 'nosuch'/);
  assert.doesNotMatch(failed, /importlib/);
  await it.says(/no revision to call yet/, () => it.type("{}"));
  await it.says(/greet@1 serves/, () => it.save("app.py", python("hello")));
  await it.says(/"hello 1"/, () => it.type("1"));
  await it.says(/SyntaxError[^]*what served before still does/, () => it.save("app.py", "def ("));
  await it.says(/"hello 2"/, () => it.type("2"));
  await it.says(/memory: "lots" is not allowed/, () =>
    it.save("dormouse.yaml", project("", "memory: lots\n")["dormouse.yaml"]),
  );
  await it.says(/(?=[^]*ValueError: no such luck)(?=[^]*\n502 {2})/, () => {
    it.save("dormouse.yaml", project("")["dormouse.yaml"]);
    it.save("app.py", "def handler(event, context):\n    raise ValueError('no such luck')\n");
    it.type("3");
  });
  await it.endLeavingNothing(() => it.process.kill("SIGINT"));
  it.platform.remove();
});

test("a call that hangs holds up neither saving nor calling nor the end", async (t) => {
  const sleeper = "import time\ndef handler(event, context):\n    print('sleeping')\n    time.sleep(600)\n";
  const it = new Sitting(t, project(sleeper, "timeout: 15m\n"), "--replay");
  await it.says(/greet@1 serves/);
  await it.says(/\| sleeping/, () => it.type("1"));
  // Its call is made again, with the new code.
  await it.says(/greet@2 serves[^]*"hello 1"/, () => it.save("app.py", python("hello")));
  await it.says(/"hello 2"/, () => it.type("2"));
  const how = await it.endLeavingNothing(() => it.process.kill("SIGINT"));
  assert.deepEqual(how, { code: 0, signal: null });
  it.platform.remove();
});

test("killed, it takes its platform with it, and finds its revisions the next time", async (t) => {
  const it = new Sitting(t, project(python("hello")));
  await it.says(/greet@1 serves/);
  it.process.kill("SIGKILL");
  await it.ended;
  it.findData();
  await eventually("its platform has ended", () => it.platform.leftovers().length === 0, 30_000);
  await eventually("its lock is free", async () => {
    it.start();
    await Promise.race([it.ended, it.says(/serves already/).catch(() => {})]);
    return /serves already/.test(it.said);
  }, 60_000);
  await it.says(/"hello 1"/, () => it.type("1"));
  await it.endLeavingNothing(() => it.process.kill("SIGTERM"));
  it.platform.remove();
});

test("an HTTP server takes requests", async (t) => {
  const server = `
import { createServer } from "node:http";
createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  response.end(request.method + " " + request.url + " " + body);
}).listen(process.env.PORT);
`;
  const it = new Sitting(t, {
    "dormouse.yaml": "name: site\nruntime: web\ncommand: [node, server.mjs]\n",
    "server.mjs": server,
  });
  it.type("/a?b=c"); // Before it is known what it serves.
  await it.says(/site@1 serves[^]*\/f\/site\/ [^]*GET \/a\?b=c/);
  await it.says(/PUT \/x \{"a": 1\}/, () => it.type('PUT /x {"a": 1}'));
  await it.endLeavingNothing(() => {
    it.process.stdin.end();
    it.process.kill("SIGINT");
  });
  it.platform.remove();
});

test("what makes a deploy possible again counts as a change", async (t) => {
  const it = new Sitting(t, project(python("hello")));
  await it.says(/greet@1 serves/);
  await it.says(/"link": is a symbolic link[^]*still does/, () => symlinkSync("/app.py", path.join(it.folder, "link")));
  it.save("app.py", python("hi"));
  await it.says(/"link": is a symbolic link/);
  await it.says(/greet@2 serves/, () => rmSync(path.join(it.folder, "link")));
  await it.endLeavingNothing(() => it.process.kill("SIGINT"));
  it.platform.remove();
});

test("on somebody else's platform it has a name of its own, and starts none", async (t) => {
  const other = await Platform.start();
  const url = `http://127.0.0.1:${other.port}`;
  const it = new Sitting(t, project(python("hello")), "--url", url);
  await it.says(/greet-dev@1 serves/);
  await it.says(/"hello 1"/, () => it.type("1"));
  assert.equal(await other.status("greet"), undefined);
  it.process.kill("SIGINT");
  assert.deepEqual(await it.ended, { code: 0, signal: null });
  assert.match(it.said, /`dormouse delete greet-dev` removes it/);
  assert.equal(existsSync(it.state), false);
  assert.ok(await other.status("greet-dev"));
  it.platform.remove();
  await other.stop();
});

test("what cannot be begun is refused, with the reason", async (t) => {
  const empty = new Sitting(t, { "notes.txt": "x" });
  assert.deepEqual(await empty.ended, { code: 2, signal: null });
  assert.match(empty.said, /there is no dormouse.yaml/);
  empty.platform.remove();
  const taken = await Platform.start();
  const it = new Sitting(t, project(python("hello")), "--listen", `127.0.0.1:${taken.port}`);
  assert.equal((await it.ended).code, 1, it.said);
  assert.match(it.said, /listening|in use/);
  assert.equal(await taken.status("greet"), undefined);
  it.platform.remove();
  const keys = path.join(taken.dir, "keys"), config = path.join(taken.dir, "config.yaml");
  execFileSync(program, ["key", "new", "--file", keys]);
  writeFileSync(config, `key_file: ${keys}\n`);
  const closed = new Sitting(t, project(python("hello")), "--config", config);
  assert.equal((await closed.ended).code, 4, closed.said);
  assert.match(closed.said, /a key is needed: set DORMOUSE_KEY.*; the configuration's key_file has those that are accepted/);
  closed.findData();
  closed.platform.remove();
  await taken.stop();
  const both = new Sitting(t, project(""), "--url", "http://127.0.0.1:1", "--data", "/tmp/x");
  assert.equal((await both.ended).code, 2);
  assert.match(both.said, /with --url it starts none/);
  both.platform.remove();
});
