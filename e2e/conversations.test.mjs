// Conversations that sleep: what a model had computed is there again after its instance slept, and
// after the platform was stopped or killed. The model is the tests' own: "remember WORD" answers
// with all words of its conversation so far, and keeps them.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, roots } from "./platform.mjs";

const config = (bytes) => `  rememberer:
    root: ${roots}/probe
    argv: ["/bin/worker"]
    language_models: true
    keeps_conversations: true
  talker:
    root: ${roots}/probe
    argv: ["/bin/worker"]
    language_models: true
conversations:
  disk: ${bytes}
`;

let platform;
before(async () => {
  platform = await Platform.start({ config: config("1MiB") });
  await deploy("chat");
  await deploy("other");
  await deploy("forgetful", { runtime: "talker" });
});
after(() => platform.stop());

async function deploy(name, fields = {}) {
  const manifest = { name, runtime: "rememberer", memory: "64MiB", keep_alive: "0ms", ...fields };
  const done = await platform.deploy(manifest);
  assert.equal(done.code, 0, done.stderr);
}

async function say(word, { model = "chat", conversation, headers = {} } = {}) {
  const body = { model, messages: [{ role: "user", content: `remember ${word}` }], conversation };
  const answer = await platform.request("POST", "/v1/chat/completions", {
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
  const said = JSON.parse(answer.text);
  return { status: answer.status, text: said.choices?.[0].message.content, error: said.error };
}

const kept = async (name = "chat") => (await platform.json("conversations", name)).conversations;

// Once what was said last is kept, and the instance is gone.
async function sleeps(name = "chat", { id, bytes }) {
  await eventually(`${id} is kept`, async () => (await kept(name)).some((each) => each.id === id && each.bytes === bytes));
  await platform.asleep(name);
}

test("a conversation goes on after its instance slept", async () => {
  assert.equal((await say("one", { conversation: "c" })).text, "one ");
  await sleeps("chat", { id: "c", bytes: 4 });
  assert.equal((await say("two", { conversation: { id: "c" } })).text, "one two ");
  await sleeps("chat", { id: "c", bytes: 8 });
  const headers = { "dormouse-conversation": "c" };
  assert.equal((await say("three", { headers, conversation: "another" })).text, "one two three ");
  await sleeps("chat", { id: "c", bytes: 14 });
});

test("natively as well", async () => {
  const headers = { "content-type": "application/json", "dormouse-conversation": "c" };
  const answer = await platform.invoke("chat", JSON.stringify({ messages: [{ content: "remember four" }] }), headers);
  assert.match(answer.text, /one two three four /);
  await sleeps("chat", { id: "c", bytes: 19 });
});

test("no other conversation, function or revision has it", async () => {
  assert.equal((await say("x", { conversation: "d" })).text, "x ");
  assert.equal((await say("x")).text, "x ");
  assert.equal((await say("x", { model: "other", conversation: "c" })).text, "x ");
  await sleeps("other", { id: "c", bytes: 2 });
  await deploy("chat", { env: { NEW: "1" } });
  assert.equal((await say("x", { conversation: "c" })).text, "x ");
  assert.equal((await platform.cli("rollback", "chat")).code, 0);
  await platform.asleep("chat");
  assert.equal((await say("five", { conversation: "c" })).text, "one two three four five ");
  await sleeps("chat", { id: "c", bytes: 24 });
});

test("it is there after the platform was stopped, and after it was killed", async () => {
  for (const signal of ["SIGTERM", "SIGKILL"]) {
    await platform.kill(signal);
    await platform.serve();
    assert.match((await say(signal, { conversation: "c" })).text, new RegExp(`^one two three four five .*${signal} $`));
    await eventually("it is kept", async () => (await kept()).find(({ id }) => id === "c").bytes > 24);
    await platform.asleep("chat");
  }
});

test("the files are the daemon's alone", () => {
  const dir = path.join(platform.data, "conversations");
  const files = readdirSync(dir, { recursive: true }).map((each) => statSync(path.join(dir, each)));
  assert.ok(files.filter((each) => each.isFile()).every(({ mode }) => (mode & 0o777) === 0o600));
  assert.equal(statSync(dir).mode & 0o777, 0o700);
});

test("names are bounded, and not every runtime keeps any", async () => {
  for (const conversation of ["x".repeat(129), "a\nb", "é", 7, ["c"]]) {
    const { status, error } = await say("x", { conversation });
    assert.deepEqual([status, error.param], [400, "conversation"], JSON.stringify(conversation));
  }
  assert.equal((await say("x", { conversation: "x".repeat(128) })).status, 200);
  const { status, error } = await say("x", { model: "forgetful", conversation: "c" });
  assert.deepEqual([status, error.param, error.code], [400, "conversation", "unsupported_parameter"]);
  const native = await platform.invoke("forgetful", "echo", { "content-type": "text/plain", "dormouse-conversation": "c" });
  assert.match(native.text, /conversation: functions of runtime talker keep none/);
});

test("they are listed, forgotten by name, and go with their function", async () => {
  await eventually("all are kept", async () => (await kept()).length >= 3);
  const { stdout } = await platform.cli("conversations", "chat");
  assert.match(stdout, /^CONVERSATION +SIZE +LAST USED\n/);
  assert.match(stdout, /^c +\d+ B +20/m);
  assert.equal((await platform.cli("conversations", "chat", "--forget", "d")).code, 0);
  assert.ok((await kept()).every(({ id }) => id !== "d"));
  await platform.asleep("chat");
  assert.equal((await say("y", { conversation: "d" })).text, "y ");
  const odd = "a/b\\c;d%20?e=f&g#h";
  await say("x", { conversation: odd });
  await eventually("it is kept", async () => (await kept()).some(({ id }) => id === odd));
  assert.equal((await platform.cli("conversations", "chat", "--forget", odd)).code, 0);
  assert.ok((await kept()).every(({ id }) => id !== odd));
  assert.match((await platform.cli("conversations", "chat", "--forget-all")).stdout, /^every conversation is forgotten/);
  assert.deepEqual(await kept(), []);
  assert.equal((await platform.cli("delete", "other")).code, 0);
  await deploy("other");
  assert.deepEqual(await kept("other"), []);
  assert.equal((await say("z", { model: "other", conversation: "c" })).text, "z ");
});

test("the oldest used go first when there is no more room", async () => {
  await deploy("many");
  const word = "w".repeat(40_000);
  for (let i = 0; i < 30; ++i) await say(word, { model: "many", conversation: `n${i}` });
  await eventually("the last is kept", async () => (await kept("many")).some(({ id }) => id === "n29"));
  const all = await kept("many");
  assert.ok(all.reduce((sum, { bytes }) => sum + bytes, 0) <= 1 << 20);
  assert.ok(all.length >= 20 && all.length < 30, `${all.length}`);
  assert.ok(!all.some(({ id }) => id === "n0"));
});
