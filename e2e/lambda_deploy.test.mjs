// Functions made, changed and removed by AWS's own clients: for JavaScript, for Python (boto3) and
// on the command line, none of them modified.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { execFile, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { aws, client, refusal, startSigned, utf8, zip } from "./aws.mjs";
import { Platform, program } from "./platform.mjs";

const run = promisify(execFile);
let platform, lambda;
before(async () => {
  platform = await startSigned();
  lambda = client(platform);
});
after(() => platform.stop());

const role = "arn:aws:iam::123456789012:role/any";
const greet = (word) => ({ "app.py": `import os\ndef handler(event, context):\n    return "${word} " + os.environ.get("WHO", "you")\n` });

const send = (Command, input) => lambda.send(new aws[`${Command}Command`](input));
const create = (name, files, more = {}) =>
  send("CreateFunction", {
    FunctionName: name,
    Runtime: "python3.12",
    Role: role,
    Handler: "app.handler",
    Code: { ZipFile: zip(files) },
    ...more,
  });
const answer = async (name, event = {}) => {
  const { Payload, FunctionError } = await send("Invoke", { FunctionName: name, Payload: JSON.stringify(event) });
  assert.equal(FunctionError, undefined, utf8(Payload));
  return JSON.parse(utf8(Payload));
};

test("a function is created of a zip, and serves when that is answered", async () => {
  const code = zip(greet("hello"));
  const made = await create("greet", greet("hello"), { Description: "says hello", MemorySize: 256, Timeout: 7 });
  assert.equal(made.$metadata.httpStatusCode, 201);
  assert.equal(made.FunctionArn, "arn:aws:lambda:eu-west-1:000000000000:function:greet");
  assert.deepEqual(
    [made.State, made.LastUpdateStatus, made.Runtime, made.Role, made.Handler, made.MemorySize, made.Timeout],
    ["Active", "Successful", "python3.12", role, "app.handler", 256, 7],
  );
  assert.equal(made.CodeSha256, createHash("sha256").update(code).digest("base64"));
  assert.equal(made.CodeSize, code.length);
  assert.equal(await answer("greet"), "hello you");
  await aws.waitUntilFunctionActiveV2({ client: lambda, maxWaitTime: 5 }, { FunctionName: "greet" });
  const shown = (await platform.json("show", "greet")).function;
  assert.equal(shown.manifest?.memory ?? "256MiB", "256MiB");
  assert.deepEqual((await refusal(create("greet", greet("again")))).slice(0, 2), ["ResourceConflictException", 409]);
});

test("its code and its configuration change, each a revision of its own", async () => {
  const code = await send("UpdateFunctionCode", { FunctionName: "greet", ZipFile: zip(greet("goodbye")), Publish: true });
  assert.equal(code.Version, "2");
  assert.equal(await answer("greet"), "goodbye you");
  const changed = await send("UpdateFunctionConfiguration", {
    FunctionName: "greet",
    Environment: { Variables: { WHO: "moon" } },
    Timeout: 9,
    RevisionId: code.RevisionId,
  });
  assert.deepEqual([changed.Timeout, changed.Environment.Variables, changed.MemorySize], [9, { WHO: "moon" }, 256]);
  assert.equal(changed.CodeSha256, code.CodeSha256);
  await aws.waitUntilFunctionUpdatedV2({ client: lambda, maxWaitTime: 5 }, { FunctionName: "greet" });
  assert.equal(await answer("greet"), "goodbye moon");
  const stale = send("UpdateFunctionConfiguration", { FunctionName: "greet", Timeout: 3, RevisionId: code.RevisionId });
  assert.match((await refusal(stale))[2], /RevisionId/);
  const versions = await send("ListVersionsByFunction", { FunctionName: "greet" });
  assert.deepEqual(versions.Versions.map((each) => each.Version), ["$LATEST", "1", "2", "3"]);
  assert.equal((await send("PublishVersion", { FunctionName: "greet" })).Version, "3");
  const described = send("PublishVersion", { FunctionName: "greet", Description: "the third" });
  assert.match((await refusal(described))[2], /^Description: .* UpdateFunctionConfiguration first$/);
  await send("UpdateFunctionConfiguration", { FunctionName: "greet", Description: "the third" });
  const fourth = await send("PublishVersion", { FunctionName: "greet", Description: "the third" });
  assert.deepEqual([fourth.Version, fourth.Description], ["4", "the third"]);
  const first = await send("GetFunctionConfiguration", { FunctionName: "greet", Qualifier: "1" });
  assert.equal(first.Timeout, 7);
  // Each can be called, whichever serves, and has the name of its own.
  const said = async (version) => {
    const call = await send("Invoke", { FunctionName: "greet", Qualifier: version, Payload: "{}" });
    return [JSON.parse(utf8(call.Payload)), call.ExecutedVersion];
  };
  assert.deepEqual(await Promise.all(["1", "2", "4", "$LATEST"].map(said)), [
    ["hello you", "1"],
    ["goodbye you", "2"],
    ["goodbye moon", "4"],
    ["goodbye moon", "4"],
  ]);
  await send("DeleteFunction", { FunctionName: "greet", Qualifier: "2" });
  assert.deepEqual((await refusal(said("2"))).slice(0, 2), ["ResourceNotFoundException", 404]);
});

test("what is there is listed page by page, and removed", async () => {
  for (const name of ["a", "b", "c"]) await create(name, greet(name));
  const names = [];
  for await (const page of aws.paginateListFunctions({ client: lambda, pageSize: 2 }, {})) {
    assert.ok(page.Functions.length <= 2);
    names.push(...page.Functions.map((each) => each.FunctionName));
  }
  assert.deepEqual(names, ["a", "b", "c", "greet"]);
  assert.equal((await send("DeleteFunction", { FunctionName: "a" })).$metadata.httpStatusCode, 204);
  for (const Command of ["GetFunction", "DeleteFunction", "Invoke", "GetFunctionConfiguration", "PublishVersion"]) {
    assert.deepEqual((await refusal(send(Command, { FunctionName: "a" }))).slice(0, 2), ["ResourceNotFoundException", 404]);
  }
});

test("tags are told back, change, and one of them is the network", async () => {
  const network = async (name) => (await platform.json("show", name)).function.revision.manifest.network ?? "none";
  const Resource = (await send("GetFunction", { FunctionName: "greet" })).Configuration.FunctionArn;
  const tags = async () => (await send("ListTags", { Resource })).Tags;
  assert.deepEqual(await tags(), {});
  await send("TagResource", { Resource, Tags: { team: "x y", empty: "", "dormouse:network": "none" } });
  assert.deepEqual(await tags(), { team: "x y", empty: "", "dormouse:network": "none" });
  const shown = await send("GetFunction", { FunctionName: "greet" });
  assert.deepEqual(shown.Tags, await tags());
  assert.equal(await network("greet"), "none");
  await send("UntagResource", { Resource, TagKeys: ["empty", "dormouse:network", "nothing"] });
  assert.deepEqual(await tags(), { team: "x y" });
  assert.equal(await answer("greet"), "goodbye moon");
  const says = /^Tags: dormouse:network: .*; allowed are none, outbound, and HOST:PORT, several with a space between them$/;
  for (const value of ["internet", "api.example.com", "a:1,b:2", "169.254.169.254:80", ""]) {
    const Tags = { "dormouse:network": value };
    for (const call of [() => send("TagResource", { Resource, Tags }), () => create("netted", greet("x"), { Tags })]) {
      const refused = await refusal(call());
      assert.deepEqual(refused.slice(0, 2), ["InvalidParameterValueException", 400]);
      assert.match(refused[2], says);
    }
  }
  const ofAVersion = await refusal(send("ListTags", { Resource: `${Resource}:1` }));
  assert.match(ofAVersion[2], /^Resource: a version has no tags of its own/);
  assert.equal((await refusal(send("ListTags", { Resource: `${Resource}-not` })))[0], "ResourceNotFoundException");
});

test("Node functions and programs are made of zips, too", async () => {
  const node = { "index.mjs": "export const handler = async (event) => ({ twice: event.n * 2 });" };
  await create("twice", node, { Runtime: "nodejs22.x", Handler: "index.handler", MemorySize: 256 });
  assert.deepEqual(await answer("twice", { n: 21 }), { twice: 42 });
  const bootstrap = `#!/usr/bin/python3
import json, os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    call = urllib.request.urlopen(api + "next")
    event, id = json.load(call), call.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(api + id + "/response", data=json.dumps([event["n"] + 1, os.environ["_HANDLER"]]).encode())
`;
  const files = { bootstrap: { content: bootstrap, mode: 0o100755 } };
  await create("plus", files, { Runtime: "provided.al2023", Handler: "whatever/it-is", MemorySize: 256, Timeout: 20 });
  assert.deepEqual(await answer("plus", { n: 1 }), [2, "whatever/it-is"]);
});

test("a secret is named by reference, given as the code is loaded, and never shown", async () => {
  const set = await platform.request("PUT", "/api/v1/secrets/prod-db", {
    body: "hush-hush",
    headers: { "content-type": "application/octet-stream", "x-api-key": platform.options.env.DORMOUSE_KEY },
  });
  assert.equal(set.status, 200, set.text);
  const files = { "app.py": "import os\nAT_LOAD = os.environ['DB']\ndef handler(event, context): return len(AT_LOAD)\n" };
  const made = await create("vault", files, { Environment: { Variables: { DB: "dormouse:secret:prod-db" } } });
  assert.deepEqual(made.Environment.Variables, { DB: "dormouse:secret:prod-db" });
  assert.equal(await answer("vault"), 9);
  const lost = create("lost", files, { Environment: { Variables: { DB: "dormouse:secret:nowhere" } } });
  assert.match((await refusal(lost))[2], /nowhere/);
});

test("what does not start, or is not to be had, is refused by name and leaves nothing", async () => {
  const before = (await send("ListFunctions", {})).Functions.length;
  const rows = [
    [() => create("broken", { "app.py": "import nothing_like_this" }), /nothing_like_this/],
    [() => create("broken", greet("x"), { Handler: "main.handler" }), /main/],
    [() => create("broken", greet("x"), { Runtime: "java21" }), /Runtime: "java21"/],
    [() => create("broken", greet("x"), { Layers: ["arn:aws:lambda:eu-west-1:123456789012:layer:x:1"] }), /^Layers/],
    [() => create("broken", greet("x"), { Code: { S3Bucket: "bucket", S3Key: "key" } }), /S3Bucket/],
    [() => create("bro.ken", greet("x")), /name/],
    [() => create("broken", greet("x"), { Code: { ZipFile: Buffer.from("not a zip") } }), /is not a zip file/],
  ];
  for (const [call, message] of rows) {
    const refused = await refusal(call());
    assert.deepEqual(refused.slice(0, 2), ["InvalidParameterValueException", 400]);
    assert.match(refused[2], message);
  }
  assert.equal((await send("ListFunctions", {})).Functions.length, before);
  const broken = send("UpdateFunctionCode", { FunctionName: "greet", ZipFile: zip({ "app.py": "1 +" }) });
  assert.match((await refusal(broken))[2], /SyntaxError/);
  assert.equal(await answer("greet"), "goodbye moon");
  const alias = send("CreateAlias", { FunctionName: "greet", Name: "live", FunctionVersion: "1" });
  assert.deepEqual((await refusal(alias)).slice(0, 2), ["UnknownOperationException", 404]);
});

test("a zip has what its symbolic links lead to", async () => {
  const link = (content) => ({ content, mode: 0o120777 });
  await create("linked", { "lib/greet.py": greet("linked")["app.py"], "app.py": link("lib/greet.py"), lib64: link("lib") });
  assert.equal(await answer("linked"), "linked you");
  const { files } = (await platform.json("show", "linked")).function.revision;
  assert.deepEqual(files.map(({ path }) => path).sort(), ["app.py", "lib/greet.py", "lib64/greet.py"]);
});

test("a zip of many long names is read on a host whose memory has several nodes, too", () => {
  const names = Array.from({ length: 9000 }, (_, i) => `${"d".repeat(240)}/${"d".repeat(240)}/${"n".repeat(200)}${i}`);
  const file = path.join(platform.dir, "many.zip");
  writeFileSync(file, zip(Object.fromEntries(names.map((name) => [name, ""]))));
  const [from, to] = [openSync(file, "r"), openSync(path.join(platform.dir, "many"), "w+")];
  const env = { ...process.env, MIMALLOC_USE_NUMA_NODES: "2" }; // It asks the kernel on which one it is.
  const read = spawnSync(program, ["unpack-apart"], { stdio: [from, to, "inherit"], env });
  assert.deepEqual([read.status, read.signal], [0, null]);
  assert.equal(readFileSync(path.join(platform.dir, "many")).at(-1), 2); // It came to its end.
  for (const each of [from, to]) closeSync(each);
});

test("hostile zips are refused with the entry's name, and the platform goes on", async () => {
  const outside = path.join(platform.dir, "outside");
  const rows = [
    [{ "../../outside": "x" }, /"\.\.\/\.\.\/outside"/],
    [{ [outside]: "x" }, /the path/],
    [{ "a\\..\\b": "x" }, /backslash/],
    [{ link: { content: "/etc/passwd", mode: 0o120777 } }, /"link": is a symbolic link/],
    [{ fifo: { content: "", mode: 0o010644 } }, /"fifo": is a device, a pipe or a socket/],
    [{ disk: { content: "", mode: 0o060644 } }, /"disk": is a device/],
    [{ su: { content: "x", mode: 0o104755 } }, /"su": has its setuid or setgid/],
    [{ 1: { content: "a", name: "x" }, 2: { content: "b", name: "x" } }, /"x": is there twice/],
    [{ "x.py": "a", "X.py": "b" }, /differs only in case/],
    [{ x: "a", "x/y": "b" }, /is a file and a folder/],
    [{ ".dormouse/x": "a" }, /platform's own/],
    [{ lie: { content: "a".repeat(1000), size: 10 } }, /"lie"/],
    [{ big: { content: "a", size: 0xfffffff0 } }, /"big": more than 262144000 bytes/],
    [{ bomb: Buffer.alloc(300 << 20).toString("latin1") }, /"bomb": more than/],
    [Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`f${i}`, ""])), /more than 10000 files/],
    [{ ["x/".repeat(600) + "y"]: "" }, /the path/],
  ];
  for (const [files, message] of rows) {
    const refused = await refusal(create("hostile", files));
    assert.ok(["InvalidParameterValueException", "RequestTooLargeException"].includes(refused[0]), refused.join());
    assert.match(refused[2], message);
  }
  for (let cut = 1; cut < 100; cut += 7) {
    const whole = zip(greet("x"));
    const damaged = Buffer.concat([whole.subarray(0, cut), whole.subarray(cut + 1)]);
    await refusal(create("hostile", {}, { Code: { ZipFile: damaged } }));
  }
  assert.equal(existsSync(outside), false);
  assert.equal(await answer("greet"), "goodbye moon");
});

test("boto3 deploys, invokes, streams and waits", async () => {
  const script = path.join(platform.dir, "drive.py");
  writeFileSync(path.join(platform.dir, "boto.zip"), zip(greet("boto")));
  writeFileSync(
    script,
    `import boto3, json
lam = boto3.client("lambda", endpoint_url="${platform.url}", region_name="eu-west-1")
code = open("${platform.dir}/boto.zip", "rb").read()
lam.create_function(FunctionName="boto", Runtime="python3.11", Role="${role}", Handler="app.handler", Code={"ZipFile": code})
lam.get_waiter("function_active_v2").wait(FunctionName="boto")
print(json.load(lam.invoke(FunctionName="boto", Payload=b"{}")["Payload"]))
try:
    lam.invoke(FunctionName="nobody")
except lam.exceptions.ResourceNotFoundException as refused:
    print(refused.response["Error"]["Message"])
print(sorted(f["FunctionName"] for page in lam.get_paginator("list_functions").paginate() for f in page["Functions"]))
lam.delete_function(FunctionName="boto")
`,
  );
  const { stdout } = await run("/usr/bin/python3", [script], { env: environment() });
  const [said, refused, names] = stdout.trim().split("\n");
  assert.equal(said, "boto you");
  assert.equal(refused, "Function not found: nobody");
  assert.match(names, /'boto'.*'greet'/);
});

const environment = () => ({
  PATH: process.env.PATH,
  HOME: platform.dir,
  AWS_ACCESS_KEY_ID: platform.credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: platform.credentials.secretAccessKey,
  AWS_DEFAULT_REGION: "eu-west-1",
  AWS_PAGER: "",
});

test("the aws command line deploys a function, calls it, and reads the end of its log", async () => {
  const file = path.join(platform.dir, "cli.zip");
  const out = path.join(platform.dir, "out.json");
  writeFileSync(file, zip({ "lambda_function.py": "def lambda_handler(event, context):\n    print('seen')\n    return event | context.client_context.custom\n" }));
  const command = async (...args) => {
    const { stdout } = await run("/usr/bin/aws", ["--endpoint-url", platform.url, "lambda", ...args], { env: environment() });
    return stdout === "" ? {} : JSON.parse(stdout);
  };
  const made = await command(
    ..."create-function --function-name Typed_1 --runtime python3.12 --handler lambda_function.lambda_handler".split(" "),
    ...["--role", role, "--zip-file", `fileb://${file}`, "--tags", "dormouse:network=none"],
  );
  assert.equal(made.State, "Active");
  await command("wait", "function-active", "--function-name", "Typed_1");
  const said = ["--client-context", Buffer.from('{"custom": {"by": "aws"}}').toString("base64")];
  const payload = ["--cli-binary-format", "raw-in-base64-out", "--payload", '{"a": [1, "ü"]}', ...said];
  const called = await command("invoke", "--function-name", "Typed_1", ...payload, "--log-type", "Tail", out);
  assert.equal(called.StatusCode, 200);
  assert.match(Buffer.from(called.LogResult, "base64").toString(), /\nseen\n/);
  assert.deepEqual(JSON.parse(readFileSync(out)), { a: [1, "ü"], by: "aws" });
  await command("tag-resource", "--resource", made.FunctionArn, "--tags", "team=x y");
  const shown = await command("get-function", "--function-name", "Typed_1");
  assert.equal(shown.Configuration.Handler, "lambda_function.lambda_handler");
  assert.deepEqual(shown.Tags, { "dormouse:network": "none", team: "x y" });
  await command("delete-function", "--function-name", "Typed_1");
});

test("without a key file any signature will do, but a page's request has none", async () => {
  const open = await Platform.start();
  const anyone = { ...open, url: open.url, credentials: { accessKeyId: "any", secretAccessKey: "any" } };
  const all = await client(anyone).send(new aws.ListFunctionsCommand({}));
  assert.deepEqual(all.Functions, []);
  const body = JSON.stringify({ FunctionName: "x", Runtime: "python3.12", Code: { ZipFile: zip(greet("x")).toString("base64") } });
  const page = await open.request("POST", "/2015-03-31/functions", { body, headers: { "content-type": "text/plain" } });
  assert.equal(page.status, 403);
  const rebound = { host: "evil.example", authorization: "AWS4-HMAC-SHA256 x" };
  assert.equal((await open.request("GET", "/2015-03-31/functions", { headers: rebound })).status, 403);
  await open.stop();
});
