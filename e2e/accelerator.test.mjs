// A language model whose layers something else than the processor computes, by a back end of llama.cpp's that
// its worker is given: as runtime llm-cuda does on a card of NVIDIA's. Here it is Vulkan, by Mesa's
// driver for machines without a card, which scripts/setup --debian brings; scripts/nightly does so.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, repository, roots } from "./platform.mjs";

const deps = process.env.DORMOUSE_DEPS ?? path.join(repository, ".deps");
const model = path.join(deps, "tiny-stories/1-minute/model.gguf");
const backEnd = path.join(deps, "llama-vulkan/libggml-vulkan.so");
const driver = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";
const missing = [model, backEnd, driver].find((file) => !existsSync(file));
const skip = missing && `${missing} is not there: scripts/setup --debian brings it`;

const config = `  llm-vulkan:
    root: ${roots}/llm
    argv: ["/bin/init", "/bin/worker", "--accelerator", "/opt/accelerator/libggml-vulkan.so"]
    env: { GGML_VK_VISIBLE_DEVICES: "0", VK_ICD_FILENAMES: ${driver} }
    binds:
      - { source: /usr, target: /usr }
      - { source: ${path.dirname(backEnd)}, target: /opt/accelerator }
    language_models: true
    keeps_conversations: true
    blanks: 0
`;

let platform;
before(async () => {
  if (skip) return;
  platform = await Platform.start({ config });
  for (const [name, runtime] of [["processor", "llm"], ["card", "llm-vulkan"]]) {
    const done = await deploy(name, runtime);
    assert.equal(done.code, 0, done.stderr);
  }
});
after(() => platform?.stop());

function deploy(name, runtime, llm = { context: 512 }) {
  const manifest = {
    name, runtime, model: "model.gguf", memory: "2GiB", cpu: 2, threads: 2, concurrency: 2,
    timeout: "5m", start_timeout: "5m", keep_alive: "1s", llm,
  };
  return platform.deploy(manifest, { "model.gguf": readFileSync(model) });
}

async function ask(name, where, asked, headers = {}) {
  const answer = await platform.request("POST", `/v1/${where}`, {
    body: JSON.stringify({ model: name, temperature: 0, ...asked }),
    headers: { "content-type": "application/json", ...headers },
  });
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text);
}

test("it says what the processor's says, as surely", { skip }, async () => {
  const asked = { prompt: "And the LORD said unto Moses,", max_tokens: 4, logprobs: 2 };
  const [one, other] = await Promise.all([ask("processor", "completions", asked), ask("card", "completions", asked)]);
  const [{ logprobs: ours }, { logprobs: theirs }] = [one.choices[0], other.choices[0]];
  assert.equal(ours.tokens[0], theirs.tokens[0]);
  const apart = Math.abs(ours.token_logprobs[0] - theirs.token_logprobs[0]);
  assert.ok(apart < 0.05, `${ours.token_logprobs[0]} and ${theirs.token_logprobs[0]}`);
  assert.deepEqual(await ask("card", "completions", asked).then((again) => again.choices[0].text), other.choices[0].text);
});

test("what computes is shown, and nothing is forked or left when it sleeps", { skip }, async () => {
  const notes = async (name) => (await platform.json("show", name)).function.revision.notes;
  assert.match((await notes("card")).weights, /^on llvmpipe/);
  assert.match((await notes("processor")).weights, /^in memory/);
  await platform.asleep("card");
});

test("a conversation goes on after it slept", { skip }, async () => {
  const say = (messages) => ask("card", "chat/completions", { messages, max_tokens: 8, conversation: "one" });
  const messages = [{ role: "user", content: "Tell me of Moses, and of all that he did in Egypt." }];
  const first = await say(messages);
  await eventually("it is kept", async () => (await platform.json("conversations", "card")).conversations.length === 1);
  await platform.asleep("card");
  messages.push(first.choices[0].message, { role: "user", content: "Go on." });
  const { usage } = await say(messages);
  const known = usage.prompt_tokens_details.cached_tokens;
  assert.ok(known >= first.usage.prompt_tokens, `${known} of ${usage.prompt_tokens}`);
});

test("weights that stay in the file are refused", { skip }, async () => {
  const done = await deploy("mapped", "llm-vulkan", { context: 512, weights: "mapped" });
  assert.notEqual(done.code, 0);
  assert.match(done.stderr, /llm\.weights: they are copied to llvmpipe/);
});
