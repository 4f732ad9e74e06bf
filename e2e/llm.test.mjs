// Language models: GGUF files deployed as they are, spoken to by OpenAI's own client. The models are
// tiny and their weights random (runtimes/llm/testdata), so that what they say is nonsense, and the
// same nonsense each time.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { Platform, eventually, failure, repository, sleep } from "./platform.mjs";

const deps = process.env.DORMOUSE_DEPS ?? path.join(repository, ".deps");
const OpenAI = createRequire(path.join(deps, "clients/package.json"))("openai");
const testdata = path.join(repository, "runtimes/llm/testdata");
const run = promisify(execFile);
const json = { "content-type": "application/json" };
const llama = readFileSync(path.join(testdata, "llama.gguf"));
const bert = readFileSync(path.join(testdata, "bert.gguf"));

let platform, client;
before(async () => {
  platform = await Platform.start();
  await deploy("chat", llama, { concurrency: 4 });
  await deploy("vectors", bert);
  client = new OpenAI({ baseURL: `${platform.url}/v1`, apiKey: "none", maxRetries: 0 });
});
after(() => platform.stop());

// One thread: two that wait for each other are slow where others work, too.
async function deploy(name, model, fields = {}) {
  const manifest = { name, runtime: "llm", model: "model.gguf", timeout: "2m", ...fields };
  const done = await platform.deploy(manifest, { "model.gguf": model });
  assert.equal(done.code, 0, done.stderr);
}

const said = (content, more = {}) => ({
  model: "chat",
  messages: [{ role: "user", content }],
  temperature: 0,
  max_tokens: 16,
  ignore_eos: true,
  ...more,
});
const ask = (content, more, options) => client.chat.completions.create(said(content, more), options);
const text = (answer) => answer.choices[0].message.content;

const receiptOf = (id) => platform.receiptOf(id);

test("a GGUF file is deployed by its name alone", async () => {
  const file = path.join(mkdtempSync(path.join(platform.dir, "models-")), "my-model.gguf");
  copyFileSync(path.join(testdata, "llama.gguf"), file);
  const done = await platform.cli("deploy", file);
  assert.equal(done.code, 0, done.stderr);
  const advice = done.stdout.trim().split("\n").at(-1).replace("curl", "curl -sS");
  assert.equal(JSON.parse((await run("sh", ["-c", advice])).stdout).object, "chat.completion", advice);
  const answer = await client.chat.completions.create({
    model: "my-model",
    messages: [{ role: "user", content: "Hello" }],
    max_completion_tokens: 3,
  });
  assert.ok(answer.usage.completion_tokens <= 3 && answer.usage.prompt_tokens > 3);
  const { request_id: id, response } = await ask("x", { model: "my-model" }).withResponse();
  assert.equal(id, response.headers.get("dormouse-invocation"));
  const shown = (await platform.cli("show", "my-model")).stdout;
  assert.match(shown, /note: weights +in memory/);
  // Nothing worth a MiB of weights, 2 of context, and the room of all models.
  assert.equal((await platform.json("show", "my-model")).function.revision.manifest.memory, "770MiB");
  assert.match(shown, /note: chat template +the model's own/);
  assert.match(shown, /note: template +yes/);
  assert.equal((await platform.cli("delete", "my-model")).code, 0);
});

test("an answer is the same whole, in a stream, natively, and in company", async () => {
  const whole = await ask("the moon");
  assert.equal(whole.usage.completion_tokens, 16);
  assert.equal(whole.choices[0].finish_reason, "length");
  let streamed = "", usage;
  for await (const chunk of await ask("the moon", { stream: true, stream_options: { include_usage: true } })) {
    streamed += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(streamed, text(whole));
  assert.equal(usage.completion_tokens, 16);
  const native = await platform.callJson("chat", said("the moon"));
  assert.equal(native.choices[0].message.content, text(whole));
  const together = await Promise.all(
    ["the moon", "a mouse", "the moon", "two", "three", "the moon"].map((content) => ask(content)),
  );
  for (const i of [0, 2, 5]) assert.equal(text(together[i]), text(whole));
});

test("what was read before is not read again, and the receipt says so", async () => {
  const first = "a long question about the house by the sea and who was there";
  await ask(first);
  const { data, response } = await ask(first).withResponse();
  const { tokens } = await receiptOf(response.headers.get("dormouse-invocation"));
  assert.equal(tokens.prompt_read, 1);
  assert.equal(tokens.prompt_reused, data.usage.prompt_tokens - 1);
  assert.equal(tokens.generated, 16);
  assert.equal(data.usage.prompt_tokens_details.cached_tokens, tokens.prompt_reused);
});

test("many conversations at once are kept, each its own", async () => {
  await deploy("crowd", llama, { concurrency: 12, llm: { context: 256 } });
  const names = Array.from({ length: 12 }, (_, i) => `c${i}`);
  const turn = (name, messages) =>
    ask("", { model: "crowd", messages, conversation: name, max_tokens: 8 }).then((answer) => {
      messages.push({ role: "assistant", content: text(answer) }, { role: "user", content: "and?" });
      return answer;
    });
  const all = names.map((name, i) => [name, [{ role: "user", content: `number ${i} of the mice` }]]);
  await Promise.all(all.map(([name, messages]) => turn(name, messages)));
  await asleep("crowd");
  assert.equal((await platform.json("conversations", "crowd")).conversations.length, names.length);
  for (const [name, messages] of all) {
    const { usage } = await turn(name, messages);
    assert.ok(usage.prompt_tokens_details.cached_tokens > usage.prompt_tokens / 2, JSON.stringify(usage));
  }
});

test("examples/search-notes finds what is nearest", async () => {
  const notes = mkdtempSync(path.join(platform.dir, "notes-"));
  writeFileSync(path.join(notes, "a.md"), "the dormouse sleeps\n\nthe river and the sea");
  writeFileSync(path.join(notes, "b.txt"), "a tree");
  writeFileSync(path.join(notes, "long.txt"), "the moon and the sun ".repeat(200));
  const search = path.join(repository, "examples/search-notes/search.py");
  const { stdout } = await run(search, [notes, "who sleeps"], { env: { ...process.env, DORMOUSE_URL: platform.url } });
  assert.match(stdout.split("\n")[0], /a\.md: the dormouse sleeps/);
});

test("it wakes from its template, and says the same", async () => {
  const before = text(await ask("the sun"));
  await asleep("chat");
  const { data, response } = await ask("the sun").withResponse();
  assert.equal(text(data), before);
  const receipt = await receiptOf(response.headers.get("dormouse-invocation"));
  assert.equal(receipt.rung, "template");
});

const asleep = (name) =>
  eventually(`no instance of ${name}`, async () => {
    const { instances } = await platform.status(name);
    return Object.values(instances).every((count) => count === 0);
  });

test("a conversation goes on after it slept, and after the platform was killed", async () => {
  const messages = [{ role: "user", content: "a story of the house by the sea and the one who was there" }];
  let before = 0, kept = 0;
  const written = () => {
    const folder = path.join(platform.data, "conversations/default/chat");
    const [revision] = existsSync(folder) ? readdirSync(folder) : [];
    const file = revision && path.join(folder, revision, Buffer.from("evening").toString("base64url"));
    return file && existsSync(file) ? statSync(file).size : 0;
  };
  for (const between of [() => asleep("chat"), () => platform.kill("SIGKILL").then(() => platform.serve()), null]) {
    const { data, response } = await ask("", { messages, conversation: "evening", ignore_eos: false }).withResponse();
    const { tokens, outcome } = await receiptOf(response.headers.get("dormouse-invocation"));
    assert.equal(outcome, "answered");
    // But for the last token that was said, all is known: the next turn reads what is new.
    assert.ok(tokens.prompt_reused >= before - 1, `${tokens.prompt_reused} of ${before}`);
    before = data.usage.prompt_tokens + data.usage.completion_tokens;
    messages.push({ role: "assistant", content: text(data) }, { role: "user", content: "and then?" });
    const size = kept;
    await eventually("it is kept", async () => (kept = written()) > size);
    if (between) await between();
    client = new OpenAI({ baseURL: `${platform.url}/v1`, apiKey: "none", maxRetries: 0 });
  }
  assert.match((await platform.cli("conversations", "chat")).stdout, /^evening /m);
  // Another conversation, of another name, knows nothing of it once that is out of memory.
  await asleep("chat");
  const other = await ask("", { messages: messages.slice(0, 1), conversation: "morning" });
  assert.equal(other.usage.prompt_tokens_details.cached_tokens, 0);
});

test("choices, stops, seeds, likelihoods and biases are obeyed", async () => {
  const all = text(await ask("words"));
  const stop = all.slice(6, 9);
  const stopped = await ask("words", { stop: [stop] });
  assert.equal(text(stopped), all.slice(0, all.indexOf(stop)));
  assert.equal(stopped.choices[0].finish_reason, "stop");
  const drawn = async (seed) => (await ask("words", { temperature: 1, n: 3, seed })).choices.map((c) => c.message.content);
  assert.deepEqual(await drawn(5), await drawn(5));
  assert.notDeepEqual(await drawn(5), await drawn(6));
  const { choices } = await ask("words", { logprobs: true, top_logprobs: 2, max_tokens: 2 });
  assert.equal(choices[0].logprobs.content.length, 2);
  for (const { logprob, bytes, top_logprobs } of choices[0].logprobs.content) {
    assert.ok(logprob <= 0 && bytes.length > 0 && top_logprobs.length === 2);
    assert.ok(top_logprobs[0].logprob >= top_logprobs[1].logprob);
  }
});

test("JSON comes by the schema", async () => {
  const schema = {
    type: "object",
    properties: { animal: { enum: ["mouse", "cat"] }, awake: { type: "boolean" } },
    required: ["animal", "awake"],
    additionalProperties: false,
  };
  const answer = await ask("which?", {
    max_tokens: 100,
    ignore_eos: false,
    response_format: { type: "json_schema", json_schema: { name: "which", schema, strict: true } },
  });
  const value = JSON.parse(text(answer));
  assert.ok(["mouse", "cat"].includes(value.animal) && typeof value.awake === "boolean");
  assert.equal(answer.choices[0].finish_reason, "stop");
});

// As Qwen's and Hermes' models have it, in short. Random weights call nothing unless they have to.
const toolTemplate = `{%- if tools %}<|im_start|>system
Tools:{% for tool in tools %} {{ tool | tojson }}{% endfor %}<|im_end|>
{% endif %}{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}{% for call in message.tool_calls or [] %}
<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

test("a deploy's own chat template is used, and tools are told by it", async () => {
  const manifest = { name: "caller", runtime: "llm", model: "model.gguf", llm: { chat_template: "chat.jinja" } };
  const done = await platform.deploy(manifest, { "model.gguf": llama, "chat.jinja": toolTemplate });
  assert.equal(done.code, 0, done.stderr);
  const parameters = { type: "object", properties: { hour: { enum: [6, 7] } }, required: ["hour"] };
  const tools = [{ type: "function", function: { name: "wake", parameters } }];
  const without = await ask("wake me", { model: "caller" });
  const told = await ask("wake me", { model: "caller", tools });
  assert.ok(told.usage.prompt_tokens > without.usage.prompt_tokens + 40);
  const messages = [
    { role: "user", content: "wake me" },
    { role: "assistant", content: null, tool_calls: [{ id: "1", type: "function", function: { name: "wake", arguments: '{"hour": 6}' } }] },
    { role: "tool", tool_call_id: "1", content: "done" },
  ];
  assert.ok((await ask("", { model: "caller", tools, messages })).usage.prompt_tokens > told.usage.prompt_tokens);
  const { choices } = await ask("wake me", { model: "caller", tools, tool_choice: "required", parallel_tool_calls: false, max_tokens: 300, ignore_eos: false, n: 8, temperature: 1, seed: 3 });
  for (const { finish_reason, message } of choices) {
    assert.deepEqual([finish_reason, message.tool_calls.length], ["tool_calls", 1]);
    const { name, arguments: given } = message.tool_calls[0].function;
    assert.equal(name, "wake");
    assert.ok([6, 7].includes(JSON.parse(given).hour), given);
  }
  const broken = await platform.deploy({ ...manifest, name: "odd" }, { "model.gguf": llama, "chat.jinja": "{% for" });
  assert.notEqual(broken.code, 0);
  assert.match(broken.stderr, /chat template: it is no template that can be read/);
});

test("a stream whose reader is slow until its deadline has whole events, and its error is one", async () => {
  await deploy("hasty", llama, { timeout: "2s" });
  const body = JSON.stringify({ model: "hasty", prompt: "Once", n: 16, stream: true, logprobs: 20, max_tokens: 1000, ignore_eos: true });
  const head = `POST /v1/completions HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  const reading = run(path.join(repository, "e2e/late_reader.py"), [platform.port, head + body], { maxBuffer: 1 << 26 });
  await eventually("it runs", async () => (await platform.status("hasty")).running === 1);
  await eventually("it has ended", async () => (await platform.status("hasty")).running === 0);
  reading.child.stdin.end();
  const { stdout } = await reading;
  const events = stdout.slice(stdout.indexOf("\r\n\r\n") + 4).split("\n\n");
  assert.equal(events.pop(), "");
  const all = events.map((event) => JSON.parse(event.replace(/^data: /, "")));
  assert.equal(all.pop().error.code, "timeout");
  assert.ok(all.length > 100 && all.every(({ choices }) => choices.length === 1), `${all.length} events`);
  const delivered = all.map(({ choices }) => choices[0].logprobs?.tokens.length ?? 0).reduce((sum, each) => sum + each);
  const { generated } = (await receiptOf(/^dormouse-invocation: (.*)$/im.exec(stdout)[1].trim())).tokens;
  assert.ok(Math.abs(generated - delivered) <= 16, `${generated} counted, ${delivered} delivered`);
});

test("completions go on from a text, or from several", async () => {
  const { choices } = await client.completions.create({ model: "chat", prompt: ["the sea", "the river"], max_tokens: 4, n: 2, echo: true });
  assert.deepEqual(choices.map(({ index }) => index), [0, 1, 2, 3]);
  assert.ok(choices[0].text.includes("the sea") && choices[3].text.includes("the river"));
  const unsaid = await client.completions.create({ model: "chat", prompt: "the sea", ignore_eos: true });
  assert.equal(unsaid.usage.completion_tokens, 16);
});

test("more threads than there are processors are not started, and it says so", async () => {
  const manifest = { name: "wide", runtime: "llm", model: "model.gguf", cpu: 2, threads: 100 };
  const done = await platform.deploy(manifest, { "model.gguf": llama });
  assert.equal(done.code, 0, done.stderr);
  const { notes } = (await platform.json("show", "wide")).function.revision;
  assert.match(notes.threads, /^\d+ of the 100 asked for: the node has no more processors$/);
  assert.equal((await ask("x", { model: "wide" })).choices.length, 1);
});

test("texts become vectors, as numbers and as bytes", async () => {
  const input = ["the dormouse sleeps", "the dormouse wakes", "tree"];
  const made = await client.embeddings.create({ model: "vectors", input });
  assert.equal(made.data.length, 3);
  const plain = await client.embeddings.create({ model: "vectors", input: input[0], encoding_format: "float" });
  made.data[0].embedding.forEach((value, i) => assert.ok(Math.abs(value - plain.data[0].embedding[i]) < 1e-3));
  const near = (a, b) => a.embedding.reduce((sum, value, i) => sum + value * b.embedding[i], 0);
  assert.ok(near(made.data[0], made.data[1]) > near(made.data[0], made.data[2]));
  const many = await client.embeddings.create({ model: "vectors", input: Array(2048).fill("tree") });
  assert.equal(many.data.length, 2048);
});

const schemaField = "response_format.json_schema.schema";
const ofMany = (count) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`property_${i}`, { type: "integer" }]));
const schemaOf = (schema) => ({ type: "json_schema", json_schema: { name: "x", schema, strict: true } });

test("what is wrong is refused with its name, and nothing breaks", async () => {
  const rows = [
    [() => ask("x", { temperature: 5 }), 400, "temperature", "invalid_value"],
    [() => ask("x", { response_format: schemaOf({ type: "string", minLength: 5, maxLength: 2 }) }), 400, `${schemaField}.maxLength`, "invalid_value"],
    [() => ask("x", { response_format: schemaOf({ type: "object", properties: ofMany(101) }) }), 400, `${schemaField}.properties`, "invalid_value"],
    [() => ask("x", { response_format: schemaOf({ type: "number", multipleOf: 2 }) }), 400, `${schemaField}.multipleOf`, "unsupported_parameter"],
    [() => ask("x", { audio: { voice: "alloy" } }), 400, "audio", "unsupported_parameter"],
    [() => ask("mouse ".repeat(3000)), 400, "messages", "context_length_exceeded"],
    [() => ask("x", { logit_bias: { 99999999: 1 } }), 400, "logit_bias", "invalid_value"],
    [() => ask("x", { messages: [{ role: "king", content: "x" }] }), 400, "messages[0].role", "invalid_value"],
    [() => ask("x", { tools: [{ type: "function", function: { name: "f" } }] }), 400, "tools", "unsupported_parameter"],
    [() => ask("x", { reasoning_effort: "high" }), 400, "reasoning_effort", "unsupported_parameter"],
    [() => ask("x", { messages: [{ role: "tool", content: "x", tool_call_id: "1" }] }), 400, "messages", "invalid_value"],
    [() => ask("x", { messages: [{ role: "user", content: "x", weight: 1 }] }), 400, "messages[0].weight", "unsupported_parameter"],
    [() => ask("x", { messages: [{ role: "assistant" }] }), 400, "messages[0].content", "invalid_value"],
    [() => ask("x", { user: 5 }), 400, "user", "invalid_value"],
    [() => ask("x", { conversation: { id: "a", foo: 1 } }), 400, "conversation.foo", "unsupported_parameter"],
    [() => ask("x", { conversation: "" }), 400, "conversation", "invalid_value"],
    [() => client.embeddings.create({ model: "vectors", input: "x", conversation: "c" }), 400, "conversation", "unsupported_parameter"],
    [() => client.embeddings.create({ model: "chat", input: "x" }), 400, "model", "unsupported_parameter"],
    [() => ask("x", { model: "vectors" }), 400, "model", "unsupported_parameter"],
    [() => client.completions.create({ model: "chat", prompt: [] }), 400, "prompt", "invalid_value"],
  ];
  for (const [asked, status, param, code] of rows) {
    const error = await failure(asked());
    assert.deepEqual([error.status, error.param, error.code], [status, param, code], error.message);
  }
  const torn = Buffer.concat([Buffer.from('{"model":"chat","prompt":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
  assert.equal((await platform.request("POST", "/v1/completions", { body: torn, headers: json })).status, 400);
  const large = JSON.stringify(said("m".repeat(10 << 20)));
  const refused = await platform.request("POST", "/v1/chat/completions", { body: large, headers: json });
  assert.equal(refused.status, 400);
  assert.equal(JSON.parse(refused.text).error.code, "context_length_exceeded");
  const numbers = await failure(ask("x", { metadata: Array(3_000_000).fill(0) }));
  assert.deepEqual([numbers.status, numbers.param, numbers.code], [413, "body", "request_too_large"], numbers.message);
  assert.equal((await ask("still there?")).usage.completion_tokens, 16);
  const longest = { response_format: schemaOf({ type: "object", properties: ofMany(100) }), max_tokens: 4, ignore_eos: false };
  assert.equal((await ask("x", longest)).usage.completion_tokens, 4);
});

test("characters that a model says in bytes are whole in each chunk", async () => {
  // The model has no tokens for these but their bytes.
  const word = "größe 😀 мышь";
  const schema = { type: "object", properties: { a: { enum: [word] } }, required: ["a"], additionalProperties: false };
  const format = { type: "json_schema", json_schema: { name: "word", schema } };
  let said = "";
  for await (const chunk of await ask("x", { stream: true, ignore_eos: false, max_tokens: 100, response_format: format })) {
    const content = chunk.choices[0]?.delta?.content ?? "";
    assert.ok(!content.includes("\uFFFD"), content);
    said += content;
  }
  assert.equal(JSON.parse(said).a, word);
});

// Of those that are in sandboxes all the while, in so many milliseconds.
async function processorTime(ms) {
  const times = () => new Map(platform.inSandboxes().map((pid) => {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
      return [pid, 10 * (Number(fields[11]) + Number(fields[12]))];
    } catch {
      return [pid, 0]; // It has gone.
    }
  }));
  const before = times();
  await sleep(ms);
  return [...times()].reduce((sum, [pid, time]) => sum + Math.max(0, time - (before.get(pid) ?? time)), 0);
}

test("O6: a client that leaves frees its slot at once, and the model has nothing more to do", async () => {
  const leaving = Array.from({ length: 12 }, () => new AbortController());
  const ids = await Promise.all(
    leaving.map(async ({ signal }, i) => {
      const asked = ask(`story ${i}`, { stream: true, max_tokens: 1900 }, { signal });
      const { data, response } = await asked.withResponse();
      await data[Symbol.asyncIterator]().next();
      return response.headers.get("dormouse-invocation");
    }),
  );
  const left = performance.now();
  leaving.forEach((each) => each.abort());
  let lag = 0; // What any request takes here and now: others share the cores.
  await eventually("nothing runs", async () => {
    const asked = performance.now();
    const { running } = await platform.status("chat");
    lag = Math.max(lag, performance.now() - asked);
    return running === 0;
  });
  const took = performance.now() - left;
  assert.ok(took <= 200 + lag, `it took ${took} ms, a request ${lag} ms`);
  await sleep(left + 500 - performance.now());
  const used = await processorTime(500);
  assert.ok(used < 100, `${used} ms of processor time in half a second of no calls`);
  for (const id of ids) assert.equal((await receiptOf(id)).outcome, "cancelled");
});

test("a worker that is killed mid-stream ends the stream with an error, and a receipt", async () => {
  const { data, response } = await ask("a long story", { stream: true, max_tokens: 1900 }).withResponse();
  const chunks = data[Symbol.asyncIterator]();
  await chunks.next();
  for (const pid of platform.forks()) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {} // One of another function, which has gone by itself.
  }
  const error = await failure(
    (async () => {
      for (;;) if ((await chunks.next()).done) return;
    })(),
  );
  assert.ok(error instanceof OpenAI.APIError, String(error));
  assert.equal((await receiptOf(response.headers.get("dormouse-invocation"))).outcome, "function_failed");
  // One that waits, and is killed, may not be gone yet.
  await eventually("it answers again", async () => {
    const answer = await ask("again").catch((failed) => failed);
    return answer.usage?.completion_tokens === 16;
  });
});

test("a GGUF file of any name is known, alone and alone in a folder; other formats are named", async () => {
  const dir = mkdtempSync(path.join(platform.dir, "named-"));
  copyFileSync(path.join(testdata, "llama.gguf"), path.join(dir, "anything"));
  const plain = await platform.cli("deploy", path.join(dir, "anything"));
  assert.equal(plain.code, 0, plain.stderr);
  assert.equal((await platform.json("show", "anything")).function.revision.manifest.runtime, "llm");
  const folder = mkdtempSync(path.join(platform.dir, "folder-"));
  copyFileSync(path.join(testdata, "llama.gguf"), path.join(folder, "some.gguf"));
  const alone = await platform.cli("deploy", folder, "--name", "from-folder");
  assert.equal(alone.code, 0, alone.stderr);
  writeFileSync(path.join(dir, "x.safetensors"), "x");
  const other = await platform.cli("deploy", path.join(dir, "x.safetensors"));
  assert.notEqual(other.code, 0);
  assert.match(other.stderr, /a model is an ONNX or a GGUF file here; convert it/);
});

test("M7: what is no model is refused when it is deployed, with the reason", async () => {
  const cut = llama.subarray(0, llama.length - 5000);
  const odd = Buffer.from(llama);
  odd.writeUInt32LE(0xffffffff, 16);
  const crashing = Buffer.from(llama);  // Sound as a file, and without a layer llama.cpp gives up.
  crashing.writeUInt32LE(0, llama.indexOf("llama.block_count") + "llama.block_count".length + 4);
  const rows = [
    [crashing, /ended by signal 6 \(SIGABRT\); it last printed: llama\.cpp gave up: .*GGML_ASSERT\(.*\) failed/],
    [Buffer.from("no model"), /not a sound GGUF file: it does not begin with "GGUF"/],
    [cut, /not a sound GGUF file: the tensor ".*" ends \d+ bytes behind the file/],
    [odd, /not a sound GGUF file/],
    [Buffer.concat([llama.subarray(0, 8), Buffer.alloc(4096)]), /no vocabulary|not a sound|does not load/],
  ];
  for (const [model, why] of rows) {
    const done = await platform.deploy({ name: "broken", runtime: "llm", model: "model.gguf" }, { "model.gguf": model });
    assert.notEqual(done.code, 0);
    assert.match(done.stderr, why);
  }
  const wrong = [
    [{ llm: { context: 1 << 20 } }, /llm\.context: the model was trained with 2048 tokens/],
    [{ llm: { weights: "disk" } }, /llm\.weights/],
    [{ concurrency: 65 }, /concurrency is at most 64/],
    [{ llm: { chat_template: "none.jinja" } }, /llm\.chat_template: "none\.jinja" is not among/],
  ];
  for (const [fields, why] of wrong) {
    const manifest = { name: "broken", runtime: "llm", model: "model.gguf", ...fields };
    const done = await platform.deploy(manifest, { "model.gguf": llama });
    assert.notEqual(done.code, 0, JSON.stringify(fields));
    assert.match(done.stderr, why);
  }
  assert.equal((await ask("and this one?")).usage.completion_tokens, 16);
});

test("a deploy warns of memory that a full context does not fit", async () => {
  const manifest = { name: "full", runtime: "llm", model: "model.gguf", concurrency: 64, llm: { context: 2048 } };
  const said = async (memory) => (await platform.deploy({ ...manifest, memory }, { "model.gguf": llama })).stdout;
  assert.match(await said("32MiB"), /^warning: memory: too little for long conversations: weights and context take some 32 MiB/m);
  assert.doesNotMatch(await said("64MiB"), /warning/);
});

test("weights stay in the file if that is asked for, and any model makes vectors", async () => {
  await deploy("mapped", llama, { llm: { weights: "mapped", context: 512 } });
  const mapped = await client.chat.completions.create({ ...said("the moon"), model: "mapped" });
  assert.equal(text(mapped), text(await ask("the moon")));
  assert.match((await platform.cli("show", "mapped")).stdout, /note: weights +mapped/);
  await deploy("pooled", llama, { llm: { pooling: "mean" } });
  const { data } = await client.embeddings.create({ model: "pooled", input: "the moon" });
  assert.equal(data[0].embedding.length, 64);
});
