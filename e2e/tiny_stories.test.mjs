// examples/tiny-stories, deployed as it is, with the model that scripts/setup --test has made: it
// talks, in words of the text that it has learned from, and ends by itself. And what speaks to it.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Platform, repository } from "./platform.mjs";

const deps = process.env.DORMOUSE_DEPS ?? path.join(repository, ".deps");
const model = path.join(deps, "tiny-stories/1-minute/model.gguf");
const skip = !existsSync(model) && `${model} is not there: scripts/setup --test makes it`;

let platform;
before(async () => {
  if (skip) return;
  platform = await Platform.start();
  const manifest = readFileSync(path.join(repository, "examples/tiny-stories/dormouse.yaml"), "utf8");
  const done = await platform.deploy(manifest, { "model.gguf": readFileSync(model) });
  assert.equal(done.code, 0, done.stderr);
});
after(() => platform?.stop());

async function say(messages, more = {}) {
  const asked = { model: "tiny-stories", messages, temperature: 0.8, max_tokens: 200, ...more };
  const answer = await platform.request("POST", "/v1/chat/completions", {
    body: JSON.stringify(asked),
    headers: { "content-type": "application/json" },
  });
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text).choices[0];
}

const user = (content) => ({ role: "user", content });
const words = (text) => text.toLowerCase().match(/[a-z]+(?:'[a-z]+)?/g) ?? [];

test("it talks in the words of its text, and ends by itself", { skip }, async () => {
  const book = execFileSync("bible", ["-f", "gen1:1-rev22:21"], { encoding: "utf8", maxBuffer: 1 << 24 });
  const known = new Set(words(book));
  const asked = ["Tell me of Moses.", "Who is David?", "Tell me a story.", "What of the sea?"];
  const said = [];
  for (let seed = 1; seed <= 3; ++seed) {
    for (const each of asked) said.push(await say([user(each)], { seed }));
  }
  const all = said.flatMap(({ message }) => words(message.content));
  assert.ok(all.length >= 100, `${all.length} words`);
  const share = all.filter((word) => known.has(word)).length / all.length;
  assert.ok(share >= 0.9, `${share} of what it says are words of the text`);
  const ended = said.filter(({ finish_reason: reason }) => reason === "stop").length;
  assert.ok(ended >= said.length / 2, `${ended} of ${said.length} ended by themselves`);
  for (const { message } of said) assert.doesNotMatch(message.content, /<\|/);
});

test("a conversation goes on, with a system's word before it", { skip }, async () => {
  const messages = [{ role: "system", content: "You tell stories." }, user("Tell me of Moses.")];
  for (let turn = 0; turn < 3; ++turn) {
    const { message } = await say(messages, { temperature: 0 });
    assert.ok(words(message.content).length > 0);
    messages.push(message, user("Go on."));
  }
});

test("examples/story-teller streams on what the model says", { skip }, async () => {
  const done = await platform.cli("deploy", path.join(repository, "examples/story-teller"));
  assert.equal(done.code, 0, done.stderr);
  const told = [];
  // The model may find after a word or two that its story has ended, but not each time.
  for (let turn = 0; turn < 12 && !told.some((story) => story.length > 40); ++turn) {
    const answer = await platform.request("POST", "/f/story-teller", {
      body: JSON.stringify({ begin: "And David said", length: 48 }),
      headers: { "content-type": "application/json" },
    });
    assert.equal(answer.status, 200, answer.text);
    assert.ok(answer.text.startsWith("And David said"), answer.text);
    told.push(answer.text);
  }
  assert.ok(told.at(-1).length > 40, told.join("\n"));
});

test("examples/chat chats by OpenAI's own client, and is what the documentation shows", { skip }, async () => {
  const example = path.join(repository, "examples/chat/chat.mjs");
  const code = readFileSync(example, "utf8");
  assert.ok(readFileSync(path.join(repository, "docs/openai.md"), "utf8").includes(`\`\`\`js\n${code}\`\`\`\n`));
  const folder = mkdtempSync(path.join(platform.dir, "chat-"));
  copyFileSync(example, path.join(folder, "chat.mjs"));
  symlinkSync(path.join(deps, "clients/node_modules"), path.join(folder, "node_modules")); // As npm lays it.
  const env = { ...process.env, DORMOUSE_URL: platform.url };
  const { stdout } = await promisify(execFile)("node", ["chat.mjs", "tiny-stories", "Tell me of Moses."], { cwd: folder, env });
  assert.ok(words(stdout).length > 0, stdout);
});
