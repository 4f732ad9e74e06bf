// OpenAI's API, driven by OpenAI's own client for JavaScript, unmodified. The model is the tests'
// own worker, which says what it is told: tests/probe/language_model.h.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import http from "node:http";
import path from "node:path";
import { Platform, eventually, failure, repository, roots } from "./platform.mjs";

const deps = process.env.DORMOUSE_DEPS ?? path.join(repository, ".deps");
const OpenAI = createRequire(path.join(deps, "clients/package.json"))("openai");
const json = { "content-type": "application/json" };

let platform, client;
before(async () => {
  platform = new Platform();
  platform.options.config = `  talker:
    root: ${roots}/probe
    argv: ["/bin/worker"]
    binds: [{ source: ${path.dirname(platform.attempts)}, target: /attempts, writable: true }]
    language_models: true
`;
  await platform.serve();
  await deploy("talk", { concurrency: 8 });
  client = openai();
});
after(() => platform.stop({ seen: true }));

async function deploy(name, fields = {}) {
  const done = await platform.deploy({ name, runtime: "talker", memory: "64MiB", ...fields });
  assert.equal(done.code, 0, done.stderr);
}

const openai = (more) => new OpenAI({ baseURL: `${platform.url}/v1`, apiKey: "none", maxRetries: 0, ...more });

const ask = (content, more = {}, options) =>
  client.chat.completions.create({ model: "talk", messages: [{ role: "user", content }], ...more }, options);

async function read(stream) {
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

const receiptOf = (id) => platform.receiptOf(id);

const post = (target, body) => platform.request("POST", target, { body: JSON.stringify(body), headers: json });

test("functions that are language models are the models", async () => {
  await platform.deployProbe("other");
  const before = Math.floor(Date.now() / 1000) - 3600;
  const models = [];
  for await (const model of client.models.list()) models.push(model);
  assert.deepEqual(models.map(({ id, object, owned_by }) => [id, object, owned_by]), [["talk", "model", "dormouse"]]);
  assert.ok(models[0].created > before && models[0].created <= Date.now() / 1000);
  assert.deepEqual({ ...(await client.models.retrieve("talk")) }, { ...models[0] });
  const missing = await failure(client.models.retrieve("nobody"));
  assert.ok(missing instanceof OpenAI.NotFoundError);
  assert.equal(missing.code, "model_not_found");
  assert.match(missing.message, /nobody.*dormouse deploy model\.gguf/);
  const other = await failure(client.models.retrieve("other"));
  assert.match(other.message, /runtime probe, and no language model; call it at \/f\/other/);
});

test("chat is answered, with what it took", async () => {
  const { data, response } = await ask("words 3").withResponse();
  assert.equal(data.choices[0].message.content, "w1 w2 w3 ");
  assert.equal(data.usage.completion_tokens, 3);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.match(response.headers.get("server-timing"), /run;dur=/);
  assert.match(response.headers.get("dormouse-cost"), /^0\.0/);
  const { tokens } = await receiptOf(response.headers.get("dormouse-invocation"));
  assert.deepEqual(tokens, { prompt_read: 7, prompt_reused: 3, generated: 3 });
});

test("chat is streamed, with its usage and its end", async () => {
  const stream = await ask("words 40", { stream: true, stream_options: { include_usage: true } });
  let text = "", usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text.trim().split(" ").length, 40);
  assert.deepEqual(usage, { prompt_tokens: 10, completion_tokens: 40, total_tokens: 50 });
});

test("a stream's head and trailers say what it is and what it cost", async () => {
  const answer = await new Promise((resolve, reject) => {
    const request = http.request(
      { port: platform.port, method: "POST", path: "/v1/chat/completions", headers: json },
      async (response) => {
        let text = "";
        for await (const part of response) text += part;
        resolve({ headers: response.headers, trailers: response.trailers, text });
      },
    );
    request.on("error", reject);
    request.end(JSON.stringify({ model: "talk", stream: true, messages: [{ content: "words 2" }] }));
  });
  assert.equal(answer.headers["content-type"], "text/event-stream");
  assert.equal(answer.headers["cache-control"], "no-cache");
  assert.ok(answer.text.endsWith("\n\ndata: [DONE]\n\n"), answer.text);
  assert.match(answer.trailers["dormouse-cost"], /^0\.0/);
  const { tokens } = await receiptOf(answer.headers["dormouse-invocation"]);
  assert.deepEqual(tokens, { prompt_read: 7, prompt_reused: 3, generated: 2 });
});

test("a word is sent on as soon as it is there", async () => {
  const at = [];
  for await (const _ of await ask("slowly 4 150", { stream: true })) at.push(performance.now());
  assert.equal(at.length, 4);
  assert.ok(at[3] - at[0] > 300, `they came within ${at[3] - at[0]} ms`);
});

test("completions and embeddings are answered, too", async () => {
  const whole = await client.completions.create({ model: "talk", prompt: "words 2" });
  assert.equal(whole.choices[0].text, "w1 w2 ");
  let text = "";
  for await (const chunk of await client.completions.create({ model: "talk", prompt: "words 3", stream: true })) {
    text += chunk.choices[0].text;
  }
  assert.equal(text, "w1 w2 w3 ");
  const made = await client.embeddings.create({ model: "talk", input: "words 1", encoding_format: "float" });
  assert.deepEqual(made.data[0].embedding, [0.5, -1, 0.25]);
});

test("the native dialect reaches a model as well", async () => {
  const answer = await platform.callJson("talk", { messages: [{ role: "user", content: "words 1" }] });
  assert.equal(answer.choices[0].message.content, "w1 ");
});

test("what is wrong has OpenAI's class, param and code", async () => {
  const hot = await failure(ask("temperature", { temperature: 3 }));
  assert.ok(hot instanceof OpenAI.BadRequestError);
  assert.deepEqual([hot.status, hot.param, hot.type], [400, "temperature", "invalid_request_error"]);
  assert.match(hot.message, /must be between 0 and 2/);
  const long = await failure(ask("context"));
  assert.deepEqual([long.param, long.code], ["messages", "context_length_exceeded"]);
  const nobody = await failure(ask("words 1", { model: "nobody" }));
  assert.ok(nobody instanceof OpenAI.NotFoundError);
  assert.deepEqual([nobody.param, nobody.code], ["model", "model_not_found"]);
  const none = await failure(client.post("/chat/completions", { body: { messages: [] } }));
  assert.deepEqual([none.status, none.param], [400, "model"]);
  const broken = await failure(ask("broken"));
  assert.ok(broken instanceof OpenAI.InternalServerError);
  assert.deepEqual([broken.status, broken.code], [502, "server_error"]);
  const nowhere = await failure(client.post("/responses", { body: { model: "talk" } }));
  assert.ok(nowhere instanceof OpenAI.NotFoundError);
  assert.match(nowhere.message, /nothing at \/v1\/responses/);
});

test("what is no request at all is refused in the same form", async () => {
  const rows = [
    ["GET", "/v1/chat/completions", undefined, json, 405, null],
    ["POST", "/v1/models", "{}", json, 405, null],
    ["POST", "/v1/completions", '{"model":', json, 400, null],
    ["POST", "/v1/completions", "[]", json, 400, null],
    ["POST", "/v1/completions", "model=talk", { "content-type": "text/plain" }, 400, null],
    ["POST", "/v1/completions", '{"model":["talk"]}', json, 400, "model"],
    ["POST", "/v1/completions", `{"model":"talk","x":${"[".repeat(5000)}`, json, 400, null],
    ["POST", "/v1/completions", `{"model":"${"m".repeat(20_000)}"}`, json, 404, "model"],
  ];
  for (const [method, target, body, headers, status, param] of rows) {
    const answer = await platform.request(method, target, { body, headers });
    assert.equal(answer.status, status, answer.text);
    assert.equal(JSON.parse(answer.text).error.type, "invalid_request_error");
    assert.equal(JSON.parse(answer.text).error.param, param, answer.text);
  }
});

test("names with a slash are names of no model, however they are sent", async () => {
  for (const name of ["meta-llama/Llama-3", "a/b/c", "/models/a.gguf", "./a.gguf"]) {
    const missing = await failure(client.models.retrieve(name));
    assert.ok(missing instanceof OpenAI.NotFoundError, name);
    assert.deepEqual([missing.param, missing.code], ["model", "model_not_found"], missing.message);
  }
  const plain = await failure(client.get("/models/meta-llama/Llama-3"));
  assert.equal(plain.code, "model_not_found", plain.message);
  assert.match(plain.message, /"meta-llama\/Llama-3"/);
  assert.equal((await failure(client.models.delete("talk"))).status, 405);
});

test("what HTTP itself refuses is in the same form", async () => {
  const head = (more, target = "/v1/completions") =>
    `POST ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${more}\r\n`;
  const chunk = `1000000\r\n${" ".repeat(16 << 20)}\r\n`;
  const rows = [
    [head("Transfer-Encoding: chunked\r\n") + chunk + "1\r\n", 413, "request_too_large"],
    [head("Content-Type: application/json\r\n"), 400, "invalid_value"],
    [head("", "/v1/models/%zz"), 400, "invalid_value"],
    [head("", "/v1/models/a%5Cb"), 400, "invalid_value"],
    [head("", `/v1/models/${"a".repeat(9000)}`), 414, "request_too_large"],
    [head("Content-Encoding: gzip\r\n"), 415, "unsupported_encoding"],
    [head(`X: ${"a".repeat(40_000)}\r\n`), 431, "request_too_large"],
    [head("Origin: https://evil.example\r\nContent-Length: 0\r\nConnection: close\r\n"), 403, "permission_denied"],
  ];
  for (const [raw, status, code] of rows) {
    const answer = await platform.raw(raw);
    assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer.slice(0, 500));
    assert.match(answer, /\r\nConnection: close\r\n/);
    const { error } = JSON.parse(answer.slice(answer.indexOf("\r\n\r\n")));
    assert.deepEqual(Object.keys(error), ["message", "type", "param", "code"]);
    assert.deepEqual([error.type, error.param, error.code], ["invalid_request_error", null, code], error.message);
  }
  const elsewhere = await platform.raw(head("", "/f/%zz"));
  assert.match(elsewhere, /"code":"invalid_argument",.*"blame":"caller"/);
});

test("a prompt of 10 MB passes, and one that no model takes is refused", async () => {
  const words = (bytes) => ({ model: "talk", messages: [{ role: "user", content: "x".repeat(bytes) }] });
  const large = await post("/v1/chat/completions", words(10 << 20));
  assert.equal(large.status, 200, large.text);
  assert.ok((await receiptOf(large.headers["dormouse-invocation"])).request_bytes > 10 << 20);
  assert.equal((await post("/v1/chat/completions", words(17 << 20))).status, 413);
});

test("a key is asked for as OpenAI asks for it", async () => {
  const locked = new Platform();
  const file = path.join(locked.dir, "keys");
  const made = JSON.parse((await locked.cliAlone("key", "new", "--file", file, "--json")).stdout);
  locked.options.args = ["--key-file", file];
  await locked.serve();
  const at = (apiKey) => new OpenAI({ baseURL: `${locked.url}/v1`, apiKey, maxRetries: 0 });
  const refused = await failure(at("wrong").models.list());
  assert.ok(refused instanceof OpenAI.AuthenticationError);
  assert.equal(refused.code, "invalid_api_key");
  assert.deepEqual((await at(made.key).models.list()).data, []);
  await locked.stop();
});

test("more than wait for a model are told to come again", async () => {
  await deploy("narrow", { max_instances: 1, queue: 1 });
  await ask("words 1", { model: "narrow" });
  const one = () => ask("slowly 1 700", { model: "narrow" });
  const all = await Promise.allSettled([one(), one(), one(), one()]);
  const refused = all.filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  assert.equal(refused.length, 2);
  for (const each of refused) {
    assert.ok(each instanceof OpenAI.RateLimitError);
    assert.equal(each.code, "rate_limit_exceeded");
    assert.ok(Number(each.headers.get("retry-after")) >= 1);
  }
});

test("characters that come in pieces are whole again", async () => {
  assert.equal(await read(await ask("torn", { stream: true })), "größe 😀");
});

test("O6, L10: streams that are dropped free their slots, and are counted as far as they came", async () => {
  await deploy("crowd", { concurrency: 200, max_instances: 1, queue: 400 });
  const count = 200, words = 5;
  const streams = await Promise.all(
    Array.from({ length: count }, async () => {
      const leaving = new AbortController();
      const asked = ask(`stall ${words}`, { model: "crowd", stream: true }, { signal: leaving.signal });
      const { data, response } = await asked.withResponse();
      const chunks = data[Symbol.asyncIterator]();
      for (let read = 0; read < words; ++read) await chunks.next();
      return { leave: () => leaving.abort(), id: response.headers.get("dormouse-invocation") };
    }),
  );
  assert.equal((await platform.status("crowd")).running, count);
  for (const { leave } of streams) leave();
  const left = performance.now();
  let lag = 0; // What any request takes here and now: others share the cores.
  await eventually("nothing runs", async () => {
    const asked = performance.now();
    const { running } = await platform.status("crowd");
    lag = Math.max(lag, performance.now() - asked);
    return running === 0;
  });
  const took = performance.now() - left;
  assert.ok(took <= 200 + lag, `it took ${took} ms, a request ${lag} ms`);
  await eventually("the same instance has all its slots", async () => {
    const { starting, busy, dozing, stopping } = (await platform.status("crowd")).instances;
    return starting + busy + stopping === 0 && dozing === 1;
  });
  for (const { id } of streams) {
    const { tokens, outcome } = await receiptOf(id);
    assert.equal(outcome, "cancelled");
    assert.ok(tokens.generated <= words + 1 && tokens.generated >= words - 1, `${tokens.generated}`);
  }
  assert.equal(await read(await ask("words 2", { model: "crowd", stream: true })), "w1 w2 ");
});

test("a worker that dies mid-stream ends it with an error, and a receipt", async () => {
  const dying = await ask("die 3", { stream: true }).withResponse();
  let words = 0;
  const error = await failure(
    (async () => {
      for await (const _ of dying.data) ++words;
    })(),
  );
  assert.ok(words <= 3, `${words}`); // What a worker said last may die with it.
  assert.ok(error instanceof OpenAI.APIError);
  assert.equal(error.code, "server_error");
  const receipt = await receiptOf(dying.response.headers.get("dormouse-invocation"));
  assert.equal(receipt.outcome, "function_failed");
  assert.ok(receipt.tokens.generated <= 3);
  const raw = await post("/v1/chat/completions", { model: "talk", stream: true, messages: [{ content: "die 1" }] });
  assert.match(raw.text, /\n\ndata: {"error":{"message":"[^"]+","type":"server_error","param":null,"code":"server_error"}}\n\n$/);
});

test("a deadline mid-stream ends it with an error, too", async () => {
  await deploy("hasty", { timeout: "1500ms" });
  for (const content of ["stall 2", "break 2"]) {
    const error = await failure(ask(content, { model: "hasty", stream: true }).then(read));
    assert.ok(error instanceof OpenAI.APIError, `${content}: ${error}`);
    assert.equal(error.code, "timeout");
  }
  const { text } = await post("/v1/chat/completions", { model: "hasty", stream: true, messages: [{ content: "break 2" }] });
  const events = text.split("\n\n");
  assert.equal(events.pop(), "");
  const [first, second, last, ...more] = events.map((event) => JSON.parse(event.replace("data: ", "")));
  assert.deepEqual([first, second].map(({ choices }) => choices[0].delta.content), ["w1 ", "w2 "]);
  assert.deepEqual([last.error.code, more], ["timeout", []]);
});

test("tokens are summed, shown and measured", async () => {
  const { sums } = JSON.parse((await platform.request("GET", "/api/v1/usage?by=function")).text);
  const { tokens } = sums.find((each) => each.function === "talk");
  assert.ok(tokens.generated > 40 && tokens.prompt_read % 7 === 0);
  const metrics = (await platform.request("GET", "/metrics")).text;
  assert.match(metrics, new RegExp(`dormouse_tokens_total{function="talk",kind="generated"} ${tokens.generated}\n`));
  const usage = (await platform.cli("usage", "--by", "function")).stdout;
  assert.match(usage, /FUNCTION .* GENERATED/);
  const { headers } = await post("/v1/completions", { model: "talk", prompt: "words 4" });
  const shown = (await platform.cli("receipt", headers["dormouse-invocation"])).stdout;
  assert.match(shown, /^tokens +4 generated; of the prompt 7 read, 3 reused$/m);
});
