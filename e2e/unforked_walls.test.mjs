// S1, S2, S17 and S22 for functions in Node and HTTP servers: what their code tries from inside is
// refused, beside what is like it and works.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import path from "node:path";
import { Platform, eventually, program, repository, roots } from "./platform.mjs";

let platform;
before(async () => {
  platform = await Platform.start();
  await deploy("node-victim", { concurrency: 2 });
  for (const name of ["node-walled", "web-walled"]) await deploy(name);
});
after(() => platform.stop()); // These functions log no attempts.

// Both kinds do what they are sent, in their own process: the text of a function of what is given and
// of the call's id. It has these names besides.
const deeds = `import * as processes from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
const told = (act, ...given) => {
  try { act(...given); return "allowed"; } catch (failure) { return failure.code; }
};
const open = (file, flags) => fs.closeSync(fs.openSync(file, flags));
const [host, port] = process.env.DORMOUSE_API.split(":");
const post = async (path, body, id) => {
  const headers = { "Content-Type": "application/json", "Dormouse-Invocation": id };
  const answer = await fetch("http://" + host + ":" + port + path, { method: "POST", body, headers });
  const said = JSON.parse(await answer.text());
  return [answer.status, said.errorType ?? said.error?.code ?? said.status ?? said];
};
const invocation = (id) => "/2018-06-01/runtime/invocation/" + id;
const answer = (id, body) => post(invocation(id) + "/response", body, id);
const callVictim = (id) => post("/dormouse/v1/functions/node-victim", '{"work": "() => 7"}', id);
const kept = {};
export const run = ({ work, given }, id) => eval("(" + work + ")")(given, id);
export const handler = (event, context) => run(event, context.awsRequestId);
`;
const server = `import { createServer } from "node:http";
import { run } from "./deeds.mjs";
createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  response.end(JSON.stringify(await run(JSON.parse(body), request.headers["dormouse-invocation"])));
}).listen(process.env.PORT);
`;
// Answers with what the query says in hexadecimal: at first, 20 ms later, and without end.
const liar = `import { createServer } from "node:net";
createServer({ noDelay: true }, (socket) => socket.on("error", () => {}).on("data", (head) => {
  const [, query, id] = /\\?(\\S+)[^]*dormouse-invocation: (\\S+)/i.exec(head);
  const [first, late, more] = query.split(",").map((each) => Buffer.from(each, "hex").toString().replaceAll("ID", id));
  socket.write(first);
  if (late) setTimeout(() => socket.write(late, () => console.log("was late")), 20);
  const pour = () => { while (socket.writable && socket.write(more.repeat(1000))); };
  if (more) socket.on("drain", pour) && pour();
})).listen(process.env.PORT);
`;
const web = { runtime: "web", command: ["node", "app.mjs"] };
const node = { runtime: "node", handler: "deeds.handler" };

async function deploy(name, more = {}, source = server) {
  const kind = name.startsWith("web-") ? web : node;
  const escape = readFileSync(path.join(roots, "escape/bin/worker"));
  const files = { "deeds.mjs": deeds, "loaded.cjs": 'require("fs").writeFileSync("/tmp/loaded", "");', escape, name };
  const manifest = { name, memory: "256MiB", max_instances: 1, timeout: "20s", ...kind, ...more };
  const done = await platform.deploy(manifest, { "app.mjs": source, ...files });
  assert.equal(done.code, 0, done.stderr);
}

const headers = { "content-type": "application/json" };
const inside = (name, work, given) => platform.callJson(name, { work: String(work), given });
const escape = (name, ...words) =>
  inside(name, (words) => String(processes.spawnSync("/code/escape", words, { maxBuffer: 1 << 24 }).stdout), words);

const of = (pid, file) => {
  try { return readFileSync(`/proc/${pid}/${file}`, "utf8"); } catch { return ""; } // It has ended.
};
const environmentOf = (pid) => of(pid, "environ").split("\0").slice(0, -1).sort();
const linesOf = (variables) => Object.entries(variables).map((each) => each.join("=")).sort();

// Of one function, by what lies with its code: process 1, the adapter, the program.
function processesOf(name) {
  const inner = (pid) => Number(/^NSpid:.*\t(\d+)$/m.exec(of(pid, "status"))[1]);
  const found = platform.inSandboxes().filter((pid) => of(pid, "root/code/name") === name);
  return found.sort((a, b) => inner(a) - inner(b));
}

// But for what Node makes for itself: what it polls, and pipes of which it has both ends.
function descriptorsOf(pid) {
  const found = readdirSync(`/proc/${pid}/fd`).map((number) => [number, readlinkSync(`/proc/${pid}/fd/${number}`)]);
  const count = (to) => found.filter((each) => each[1] === to).length;
  const isOthers = ([number, to]) => number < 3 || !(/event(poll|fd)|^\/dev\/null$/.test(to) || count(to) === 2);
  const isIn = (inode) => (table) => of(pid, `net/${table}`).split(/\s+/).includes(inode);
  const socket = (_, inode) => ["tcp", "tcp6", "unix"].find(isIn(inode)) ?? "socket from outside";
  const nameOf = (to) => to.replace(/^socket:\[(\d+)\]$/, socket).replace(/^pipe:.*/, "pipe");
  return found.filter(isOthers).map(([number, to]) => (number > 3 ? "" : `${number} `) + nameOf(to)).sort();
}

// The numbers of what docs/isolation.md has for every sandbox.
function reviewedCalls() {
  const [table] = readFileSync(path.join(repository, "docs/isolation.md"), "utf8").split("Where the program forks");
  const script = `import ctypes, sys
for name in sys.argv[1:]: print(ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name(name.encode()))`;
  const names = table.match(/(?<=^\| `)\w+(?=` \|)/gm);
  return execFileSync("/usr/bin/python3", ["-c", script, ...names], { encoding: "utf8" }).trim().split("\n");
}

const devices = "fd full null ptmx random shm stderr stdin stdout tty urandom zero".split(" ");
const hostDevices = readdirSync("/dev").filter((name) => !devices.includes(name)).map((name) => `/dev/${name}`);

// What is done, to what it works, to what it must not.
const attempts = (hosts = `${platform.dir}/config.yaml`) => [
  [(file) => {
    const ways = [file, `/proc/self/root/..${file}`, `/proc/self/cwd/../..${file}`, `/tmp/link-${process.hrtime()}`];
    fs.symlinkSync(file, ways[3]);
    return ways.map((way) => told(open, way, "r"));
  }, ["/code/name", "/etc/hosts", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"],
  [hosts, `/proc/1/root${hosts}`, program, `${platform.data}/sandboxes/id`, "/etc/shadow", ...hostDevices]],
  [(file) => [told(open, file, "a")], ["/tmp/x", "/dev/shm/x", "/dev/null"],
    ["/x", "/code/x", "/code/name", "/dev/x", "/etc/hosts", "/opt/dormouse/executable", "/slots/x", "/sys/x",
      "/usr/bin/node", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", hosts]],
  [(whose) => {
    kept.child ??= processes.spawn("/bin/sleep", ["600"], { stdio: "ignore" }).pid;
    const pid = { child: kept.child, adapter: process.ppid }[whose] ?? whose;
    return ["mem", "environ", "maps", "auxv", "fd/0", "cwd", "root/tmp", "ns/net"]
      .map((entry) => told(open, `/proc/${pid}/${entry}`, "r"));
  }, ["child"], ["adapter", platform.daemonPid()]],
  [(pid) => [told(process.kill, pid ?? kept.child, 0)], [null], [platform.daemonPid()]],
  [(id) => [told(process.setuid, id), told(process.setgid, id)], [1000], [0, 1001]],
  [(uid) => [processes.spawnSync("/usr/bin/true", { uid }).error?.code ?? "allowed"], [1000], [0, 1001]],
];

// All that is promised to be in the environment, less what the manifest below says otherwise.
const promised = {
  node: (name) => `AWS_DEFAULT_REGION=local AWS_EXECUTION_ENV=dormouse AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256
    AWS_LAMBDA_FUNCTION_NAME=${name} AWS_LAMBDA_FUNCTION_VERSION=$LATEST AWS_LAMBDA_INITIALIZATION_TYPE=on-demand
    AWS_LAMBDA_LOG_GROUP_NAME=/dormouse/${name} AWS_LAMBDA_LOG_STREAM_NAME=$LATEST AWS_REGION=local
    AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001 LAMBDA_RUNTIME_DIR=/opt/dormouse LAMBDA_TASK_ROOT=/code
    _HANDLER=deeds.handler`,
  web: (name) => `K_CONFIGURATION=${name} K_REVISION=${name}-00001 K_SERVICE=${name} PORT=8080`,
};

for (const kind of ["node", "web"]) {
  const name = `${kind}-walled`;
  test(`${kind}: S1: of all attempts in the table only IP sockets come to something`, async () => {
    const said = await escape(name, "table");
    assert.deepEqual(said.match(/^ALLOWED [^:]*/gm), ["ALLOWED socket 2 stream", "ALLOWED socket 10 stream"]);
    assert.ok(said.match(/^denied /gm).length >= 300, said);
  });

  test(`${kind}: S1: its own process opens, changes and becomes nothing that is not its own`, async () => {
    for (const [work, works, refused] of attempts()) {
      for (const on of [...works, ...refused]) {
        const expected = works.includes(on) ? /^allowed$/ : /^(EPERM|EACCES|EROFS|ENOENT|ESRCH)$/;
        for (const said of await inside(name, work, on)) assert.match(said, expected, `${work} ${on}`);
      }
    }
    assert.deepEqual(await inside(name, () => fs.readdirSync("/dev").sort()), devices);
    const walled = /CapInh:\s0+\nCapPrm:\s0+\nCapEff:\s0+\nCapBnd:\s0+\nCapAmb:\s0+\nNoNewPrivs:\s1\nSeccomp:\s2\n/;
    const all = processesOf(name); // And the child.
    assert.deepEqual(all.map((pid) => walled.test(of(pid, "status"))), [true, true, true, true]);
  });

  test(`${kind}: S2: no system call is answered but those in the reviewed list`, async () => {
    const harmless = ["39", "102", "186"]; // getpid, getuid, gettid: allowed, and tried beside the others.
    const said = await escape(name, "calls", reviewedCalls().filter((number) => !harmless.includes(number)).join());
    // 335 and 336 are uretprobe and uprobe, the kernel's own exception.
    const answered = said.match(/^ALLOWED \w+ \d+/gm).filter((line) => !/ call 33[56]$/.test(line));
    assert.deepEqual(answered, harmless.map((number) => `ALLOWED call ${number}`));
    const denied = (way) => said.match(new RegExp(`^denied ${way} `, "gm")).length;
    assert.ok(denied("call") >= 250 && denied("x32") >= 512 && denied("int80") >= 471, said);
  });

  test(`${kind}: S22: variables of the manifest are its program's alone, and no descriptor is left open`, async () => {
    const name = `${kind}-told`;
    const own = { HOME: "/code", LD_PRELOAD: "/code/x", NODE_OPTIONS: "--require=/code/loaded.cjs", PATH: "/code" };
    const overruled = { DORMOUSE_API: "x:1", [kind === "web" ? "PORT" : "AWS_LAMBDA_RUNTIME_API"]: "1" };
    await deploy(name, { env: { ...own, ...overruled } });
    const environment = linesOf(await inside(name, () => process.env));
    const ours = `DORMOUSE_API=127.0.0.1:9001 LANG=C.UTF-8 TZ=:UTC ${promised[kind](name)}`.split(/\s+/);
    assert.deepEqual(environment, [...linesOf(own), ...ours].sort());
    // A Node of ours has started before it is known whose it becomes.
    assert.equal(await inside(name, () => fs.existsSync("/tmp/loaded")), kind === "web");
    const fixed = ["HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "TZ=:UTC"];
    const all = processesOf(name);
    assert.deepEqual(all.map(environmentOf), [["HOME=/tmp"], ["HOME=/tmp"], kind === "web" ? environment : fixed]);
    const init = ["0 /dev/null", "1 pipe", "2 pipe"];
    const adapter = [...init, "3 socket from outside", "anon_inode:[signalfd]", "tcp"];
    const ofNode = [init, [...adapter, "tcp"], ["0 unix", "1 pipe", "2 pipe", "tcp"]];
    assert.deepEqual(all.map(descriptorsOf), kind === "web" ? [init, adapter, [...init, "tcp6", "tcp6"]] : ofNode);
  });

  test(`${kind}: S17: its loopback leads to functions, and to nothing else of the platform's`, async () => {
    const askAll = (heads, id) => Promise.all(heads.map((head) => new Promise((resolve) => {
      const fields = ["Host: a", "Connection: close", "Dormouse-Invocation: " + id, "Content-Type: application/json"];
      const body = '{"work": "() => 7"}';
      const socket = net.connect(port, host).on("error", () => {});
      socket.write([head + " HTTP/1.1", ...fields, "Content-Length: " + body.length, "", body].join("\r\n"));
      let said = "";
      socket.on("data", (piece) => (said += piece)).on("close", () => resolve(Number(said.split(" ")[1])));
    })));
    const functions = "/dormouse/v1/functions/";
    const names = async () => (await platform.json("list")).functions.map((each) => each.name);
    const before = await names();
    const places = ["/api/v1/functions", "/api/v1/functions/node-victim", "/api/v1/secrets", "/metrics", "/v1/models",
      "/f/node-victim", "/v2/health/live", "/v2/repository/index", "/2015-03-31/functions/", "/2018-06-01/runtime/", "/"];
    const ways = places.flatMap((place) => [place, `/${place}`, `${functions}..${place}`, `${functions}../../..${place}`,
      `${functions}..%2f..%2f..${place}`, `http://127.0.0.1:${platform.port}${place}`, `http://a:1${functions}..${place}`]);
    const heads = ways.flatMap((way) => ["GET", "POST", "PUT", "DELETE"].map((method) => `${method} ${way}`));
    const [control, ...statuses] = await inside(name, askAll, [`POST ${functions}node-victim`, ...heads]);
    assert.equal(control, 200);
    for (const [i, status] of statuses.entries()) assert.ok([400, 404, 405].includes(status), `${heads[i]}: ${status}`);
    assert.deepEqual(await names(), before);
  });

  test(`${kind}: S17: it answers no call of another function, and calls nobody in its name`, async () => {
    const work = 'async function* () { yield "all "; await new Promise((go) => (kept.go = go)); yield "its"; }';
    const body = JSON.stringify({ work });
    const held = await fetch(`${platform.url}/f/node-victim`, { method: "POST", headers, body });
    const abuse = async (id, own) => [await answer(id, "1"), await callVictim(id), await callVictim(own)];
    const said = await inside(name, abuse, held.headers.get("dormouse-invocation"));
    const refusal = kind === "web" ? [404, "not_found"] : [400, "InvalidRequestID"];
    assert.deepEqual(said, [refusal, [409, "conflict"], [200, 7]]);
    await inside("node-victim", () => kept.go());
    assert.equal(await held.text(), "all its");
  });
}

test("node: S17: of its answers the first one counts; one that is late, or too long, does not", async () => {
  const twice = async (_, id) => (kept.said = [await answer((kept.id = id), "1"), await answer(id, "2")]);
  assert.equal(await inside("node-walled", twice), 1);
  const said = await inside("node-walled", async () => [...kept.said, await answer(kept.id, "3")]);
  assert.deepEqual(said, [[202, "OK"], [403, "InvalidStateTransition"], [400, "InvalidRequestID"]]);
  const pour = async (declared, id) => {
    const socket = net.connect(port, host).on("error", () => {});
    socket.write(`POST ${invocation(id)}/response HTTP/1.1\r\nHost: a\r\nContent-Length: ${declared}\r\n\r\n`);
    for (let i = 0; i < 128; ++i) if (!socket.write(Buffer.alloc(1 << 20))) await once(socket, "drain");
    return socket.destroy().destroyed;
  };
  assert.equal(await inside("node-walled", pour, 10 * 2 ** 30), true);
  const long = await platform.invoke("node-walled", '{"work": "() => Buffer.alloc(96 << 20)"}', headers);
  assert.match(`${long.status} ${long.text}`, /^502 .*the answer has 100663296 bytes, the limit is 67108864/);
  const [, most] = /^VmHWM:\s+(\d+)/m.exec(of(processesOf("node-walled")[1], "status"));
  assert.ok(most < 80 << 10, `the adapter had ${most} KiB`);
});

test("web: S17: of its answers those count that are asked for, whole, and HTTP", async () => {
  await deploy("web-liar", { timeout: "1s" }, liar);
  const hex = (text) => Buffer.from(text).toString("hex");
  const ask = (parts) => platform.request("GET", `/f/web-liar/?${parts.map(hex)}`);
  const head = "HTTP/1.1 200 OK\r\nContent-Length: 36\r\n", other = "0".repeat(36), own = `${head}\r\nID`;
  const before = platform.memoryOfDaemon();
  for (const [expected, ...lie] of [
    [200, `${own}${head}\r\n${other}`],
    [200, own, `${head}\r\n${other}`],
    [200, `${head}Dormouse-Invocation: ${other}\r\n\r\nID`],
    [502, "\0\x01 nonsense\r\n\r\n"],
    [502, "HTTP/1.1 200 OK\r\nX: ", "", "x"],
    [502, "", "", "HTTP/1.1 100 Continue\r\n\r\n"],
    ["ECONNRESET", "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n"],
  ]) {
    const { status, code, text, headers } = await ask(lie).catch((failure) => failure);
    assert.equal(status ?? code, expected, lie[0]);
    if (status === 200) assert.equal(text, headers["dormouse-invocation"]);
    if (lie[1]) await eventually("late", async () => /was late/.test((await platform.cli("logs", "web-liar")).stdout));
    const next = await Promise.all([1, 2, 3].map(() => ask([own])));
    assert.deepEqual(next.map((each) => each.text), next.map((each) => each.headers["dormouse-invocation"]), lie[0]);
  }
  assert.ok(platform.memoryOfDaemon() - before < 8 << 20);
});
