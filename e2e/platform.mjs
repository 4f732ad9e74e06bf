// A real daemon for a test: started on a free port with a data folder of its own, driven by the
// command line and by HTTP, killed in any way, and gone without a trace afterwards.
import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createConnection } from "node:net";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
export const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
export const build = process.env.DORMOUSE_BUILD ?? path.join(repository, "build/release");
export const program = path.join(build, "src/daemon/dormouse");
export const roots = path.join(build, "roots");

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Compiles native.c in `folder` with dormouse.c, or the one that calls other functions, into its
// bootstrap. False: there is no C compiler.
export function compileNative(folder, part = "dormouse.c") {
  const include = path.join(repository, "runtimes/include");
  const words = ["-I", include, path.join(folder, "native.c"), path.join(include, part)];
  try {
    execFileSync("cc", [...words, "-o", path.join(folder, "bootstrap")]);
    return true;
  } catch (failure) {
    if (failure.code === "ENOENT") return false;
    throw failure;
  }
}

// Asks `question` every few milliseconds until it gives something true; fails after `ms`.
export async function eventually(what, question, ms = 10_000) {
  for (const end = Date.now() + ms; ;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(10);
  }
}

// That what `begin` gives a way to cause comes within so many milliseconds: the fastest of three times,
// since others may have the processor.
export async function promptly(what, ms, begin) {
  const times = [];
  for (let i = 0; i < 3; ++i) {
    const { cause, came } = await begin(i);
    const began = performance.now();
    await cause();
    await eventually(what, came);
    times.push(Math.round(performance.now() - began));
  }
  if (Math.min(...times) > ms) throw new Error(`not within ${ms} ms, but ${times.join(", ")}: ${what}`);
}

// Also true of one that nobody has reaped yet.
function hasEnded(pid) {
  try {
    if (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) return false;
    return readdirSync(`/proc/${pid}/task`).length === 1; // Its last thread holds its files.
  } catch {
    return true;
  }
}

// The class of what it fails with, and the fields of that.
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail("it did not fail");
}

// None of a folder that is not there, or goes as it is looked at.
function entriesOf(folder) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

// The names of all tables of rules; none where there is no nft.
function packetFilters() {
  try {
    return execFileSync("nft", ["list", "tables"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return "";
  }
}

// No daemon outlives a test that failed halfway.
const daemons = new Set();
process.once("exit", () => daemons.forEach((each) => each.kill("SIGKILL")));

export class Platform {
  constructor(options = {}) {
    this.dir = mkdtempSync(path.join(tmpdir(), "dormouse-e2e-"));
    this.data = path.join(this.dir, "data");
    this.attempts = path.join(this.dir, "attempts/log");
    this.options = options;
    this.log = "";
    this.answered = []; // "id status" of each call that was answered, for the oracle.
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
    // Workers append to it from inside their sandboxes, as users that do not exist out here.
    chmodSync(this.dir, 0o755);
    mkdirSync(path.dirname(this.attempts));
    writeFileSync(this.attempts, "");
    chmodSync(this.attempts, 0o666);
  }

  static async start(options) {
    const platform = new Platform(options);
    await platform.serve();
    return platform;
  }

  // The tests' own runtimes beside those that come with the program: the probe, and Python with a
  // window to the outside, through which a test changes what its code finds.
  config() {
    const file = path.join(this.dir, "config.yaml");
    const blanks = this.options.blanks ?? 1;
    writeFileSync(
      file,
      `runtimes:
  probe:
    root: ${roots}/probe
    argv: ["/bin/worker"]
    binds: [{ source: ${path.dirname(this.attempts)}, target: /attempts, writable: true }]
    blanks: ${blanks}
  onnx:
    root: ${roots}/onnx
    argv: ["/bin/init", "/bin/worker"]
    prepares: true
    forks: true
    snapshots: true
    blanks: ${this.options.onnxBlanks ?? 0}
  windowed:
    root: ${roots}/host
    argv: ["/opt/dormouse/init", "/usr/bin/python3", "-I", "-S", "-B", "/opt/dormouse/python/worker.py"]
    binds:
      - { source: /usr, target: /usr }
      - { source: /etc/alternatives, target: /etc/alternatives }
      - { source: ${path.dirname(this.attempts)}, target: /attempts, writable: true }
    forks: true
    blanks: 0
${this.options.config ?? ""}`,
    );
    return file;
  }

  async serve() {
    const args = [
      "serve",
      "--data",
      this.data,
      "--listen",
      `${this.options.host ?? "127.0.0.1"}:${this.port ?? 0}`,
    ];
    args.push("--config", this.config(), ...(this.options.args ?? []));
    const [first, ...rest] = [...(this.options.prefix ?? []), program, ...args];
    const started = spawn(first, rest, { stdio: ["ignore", "ignore", "pipe"] });
    this.process = started;
    daemons.add(started);
    started.on("exit", () => daemons.delete(started));
    this.exited = new Promise((resolve) =>
      this.process.on("exit", (code, signal) => resolve({ code, signal })),
    );
    let ready;
    const seen = this.log.length;
    const listening = new Promise((resolve, reject) => {
      ready = resolve;
      started.on("close", (code, signal) =>
        reject(new Error(`serve ended: ${JSON.stringify({ code, signal })}\n${this.log.slice(seen)}`)),
      );
    });
    const patience = setTimeout(() => started.kill("SIGKILL"), 60_000);
    this.process.stderr.on("data", (text) => {
      this.log += text;
      const match = /serves http:\/\/[^:]+:(\d+)/.exec(this.log.slice(seen));
      if (match) ready(Number(match[1]));
    });
    this.port = await listening.finally(() => clearTimeout(patience));
    // A test that failed, and has not stopped it, ends all the same.
    started.unref();
    started.stderr.unref();
    this.url = `http://127.0.0.1:${this.port}`;
  }

  async cli(...args) {
    const env = { ...process.env, DORMOUSE_URL: this.url, ...(this.options.env ?? {}) };
    try {
      const { stdout, stderr } = await run(program, args, { env, maxBuffer: 64 << 20, timeout: 120_000 });
      return { code: 0, stdout, stderr };
    } catch (failure) {
      return { code: failure.code, stdout: failure.stdout, stderr: failure.stderr };
    }
  }

  // Commands that need no daemon.
  cliAlone(...args) {
    this.url = "http://127.0.0.1:1";
    return this.cli(...args);
  }

  // The daemon itself, though strace or the like may have started it.
  daemonPid() {
    const { pid } = this.process;
    const isDaemon = (each) => readlinkSync(`/proc/${each}/exe`) === program;
    if (isDaemon(pid)) return pid;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return children.map(Number).find(isDaemon);
  }

  // Milliseconds that it was on a processor, with all its threads.
  processorOfDaemon() {
    const tasks = `/proc/${this.daemonPid()}/task`;
    const used = (task) => Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[0]);
    return readdirSync(tasks).reduce((sum, task) => sum + used(task), 0) / 1e6;
  }

  memoryOfDaemon() {
    const status = readFileSync(`/proc/${this.daemonPid()}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)[1]) << 10;
  }

  // Until so many blank sandboxes of a runtime wait for a revision.
  async blanksWait(runtime, count = 1) {
    const line = new RegExp(`^dormouse_blank\\w*\\{runtime="${runtime}"\\} ${count}$`, "m");
    await eventually(`${count} of ${runtime} wait`, async () => line.test((await this.request("GET", "/metrics")).text));
  }

  // But for logs, of which it keeps some open. Of a sandbox's control groups it opens the files when
  // it first looks at them: all those of one sandbox count once. Its clients here hang up first.
  async descriptorsOfDaemon() {
    this.agent.destroy();
    await sleep(200);
    const folder = `/proc/${this.daemonPid()}/fd`;
    const all = readdirSync(folder).map((number) => {
      try {
        const leadsTo = readlinkSync(path.join(folder, number));
        if (leadsTo.startsWith(path.join(this.data, "logs"))) return undefined;
        return /^\/sys\/fs\/cgroup\/.*(dormouse-\w+\/[\w-]+)/.exec(leadsTo)?.[1] ?? number;
      } catch {
        return undefined; // Closed meanwhile.
      }
    });
    return new Set(all.filter((each) => each !== undefined)).size;
  }

  async json(...args) {
    const { code, stdout, stderr } = await this.cli(...args, "--json");
    if (code !== 0) throw new Error(`dormouse ${args.join(" ")}: ${code}\n${stderr}`);
    return JSON.parse(stdout);
  }

  // A folder with this manifest, its fields or its text, and these files, deployed.
  async deploy(manifest, files = {}) {
    const dir = mkdtempSync(path.join(this.dir, "function-"));
    const lines = (fields) =>
      Object.entries(fields).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
    const text = typeof manifest === "string" ? manifest : lines(manifest).join("");
    writeFileSync(path.join(dir, "dormouse.yaml"), text);
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
      writeFileSync(path.join(dir, name), content);
    }
    return this.cli("deploy", dir);
  }

  async deployProbe(name, more = {}) {
    const done = await this.deploy({ name, runtime: "probe", memory: "64MiB", ...more });
    if (done.code !== 0) throw new Error(`deploying ${name}: ${done.stderr}`);
  }

  request(method, target, { body, headers = {}, agent = this.agent, signal } = {}) {
    return new Promise((resolve, reject) => {
      const request = http.request(
        { host: "127.0.0.1", port: this.port, method, path: target, headers, agent, signal },
        (response) => {
          const parts = [];
          response.on("data", (part) => parts.push(part));
          response.on("error", reject);
          response.on("end", () => {
            const { statusCode: status, headers } = response;
            // A refusal has no receipt, and says no cost. Nor does the head of a stream, which may
            // have told of a failure later: it has a receipt, of which its status says nothing.
            const id = headers["dormouse-invocation"];
            const isStream = !("dormouse-cost" in headers) && status >= 200 && status < 300;
            if (id && isStream) this.answered.push(`${id} 0`);
            if ("dormouse-cost" in headers) this.answered.push(`${id} ${status}`);
            const body = Buffer.concat(parts);
            resolve({ status, headers, body, text: body.toString() });
          });
        },
      );
      request.on("error", reject);
      request.end(body);
    });
  }

  invoke(name, body, headers = { "content-type": "text/plain" }) {
    return this.request("POST", `/f/${name}`, { body, headers });
  }

  // What a function answers to an event, both JSON. Its call must succeed.
  async callJson(name, event = null) {
    const answer = await this.invoke(name, JSON.stringify(event), { "content-type": "application/json" });
    assert.equal(answer.status, 200, answer.text);
    return JSON.parse(answer.text);
  }

  // What is answered to these bytes, until the daemon closes. To half-close would be to hang up.
  async raw(text, ms = 5000) {
    const socket = createConnection(this.port, "127.0.0.1");
    socket.setTimeout(ms, () => socket.destroy());
    socket.write(text);
    let answer = "";
    for await (const part of socket) answer += part;
    return answer;
  }

  // Of a call that has ended, or is about to.
  receiptOf(id) {
    return eventually("a receipt", async () => {
      const answer = await this.request("GET", `/api/v1/invocations/${id}`);
      return answer.status === 200 && JSON.parse(answer.text).receipts[0];
    });
  }

  async status(name) {
    const { functions } = JSON.parse((await this.request("GET", "/api/v1/functions")).text);
    return functions.find((each) => each.name === name);
  }

  // Nothing of it runs, and nothing is on its way out.
  async isIdle(name) {
    const { instances, running } = await this.status(name);
    return running + instances.busy + instances.stopping === 0;
  }

  asleep(name) {
    return eventually(`${name} is asleep`, async () => {
      const { instances, memory_bytes } = await this.status(name);
      return memory_bytes === 0 && Object.values(instances).every((count) => count === 0);
    });
  }

  // The name of this platform's cgroups.
  mark() {
    const file = path.join(this.data, "sandboxes/id");
    return existsSync(file) ? `dormouse-${readFileSync(file, "utf8").trim()}` : undefined;
  }

  // Processes in this platform's cgroups; the programs themselves, not what they started.
  processes() {
    const found = [];
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      try {
        const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
        const program = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        if (groups.includes(`/${this.mark()}/`) && program.startsWith("/bin/worker")) {
          found.push(Number(pid));
        }
      } catch {}
    }
    return found;
  }

  // Every process in this platform's sandboxes.
  inSandboxes() {
    return this.inGroups(`/${this.mark()}/`);
  }

  // Instances that were forked from a template, and forks that wait to be one.
  forks() {
    return this.inGroups(`/${this.mark()}/`, "/slot-");
  }

  inGroups(...names) {
    return readdirSync("/proc").filter((pid) => {
      try {
        const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
        return names.every((name) => groups.includes(name));
      } catch {
        return false;
      }
    });
  }

  // Whatever is still there though nothing should be (I5): processes, cgroups, mounts, what a sandbox
  // lies in, and what has this platform's name of files, namespaces, interfaces and packet filters.
  leftovers() {
    const mark = this.mark();
    // What a killed daemon leaves as a zombie is only waiting for the host's own init.
    const alive = this.inSandboxes().filter((pid) => !hasEnded(pid));
    const left = alive.map((pid) => `process ${pid}`);
    // Below the root of cgroup v2, or below each controller's.
    const below = entriesOf("/sys/fs/cgroup").filter((entry) => entry.isDirectory());
    for (const controller of ["", ...below.map((entry) => entry.name)]) {
      const group = path.join("/sys/fs/cgroup", controller, mark);
      for (const entry of entriesOf(group)) {
        if (entry.isDirectory()) left.push(`cgroup ${group}/${entry.name}`);
      }
    }
    for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
      if (line.includes(this.dir)) left.push(`mount ${line}`);
    }
    for (const folder of ["sandboxes", "oci"]) {
      const lies = path.join(this.data, "sandboxes", folder);
      for (const { name } of entriesOf(lies)) left.push(`sandbox ${lies}/${name}`);
    }
    const id = mark?.replace("dormouse-", "");
    for (const folder of ["/tmp", "/run", "/run/netns", "/dev/shm", "/sys/class/net"]) {
      const ours = entriesOf(folder).filter(({ name }) => id && name.includes(id));
      for (const { name } of ours) left.push(`name ${folder}/${name}`);
    }
    if (id && packetFilters().includes(id)) left.push(`packet filter ${mark}`);
    return left;
  }

  // What the ledger says of itself, of the workers' own log and of what clients were told (I1–I4).
  // The daemon must not run.
  async oracle({ answered = this.answered, seen = false } = {}) {
    const file = path.join(this.dir, "answered");
    writeFileSync(file, answered.map((call) => `${call}\n`).join(""));
    const args = ["--data", this.data, "--answered", file];
    if (seen) args.push("--attempts", this.attempts);
    return run(path.join(build, "tests/oracle/oracle"), args)
      .then(({ stdout }) => ({ holds: true, said: stdout }))
      .catch(({ stdout, stderr }) => ({ holds: false, said: stdout + stderr }));
  }

  async kill(signal) {
    const daemon = this.daemonPid();
    this.process.ref();
    process.kill(daemon, signal);
    if (this.options.prefix?.length && signal === "SIGKILL") {
      // The tracer would wait for all it traces, and a sandbox that was just being made waits for
      // the daemon to go on: the next daemon takes that away.
      this.process.kill("SIGKILL");
      await eventually("the daemon is dead", () => hasEnded(daemon));
    }
    return this.exited;
  }

  // It ends as it should, what the ledger says is true, and nothing is left. `seen`: its functions log
  // what they see.
  async stop(options) {
    assert.deepEqual(await this.kill("SIGTERM"), { code: 0, signal: null });
    const verdict = await this.oracle(options);
    assert.ok(verdict.holds, verdict.said);
    assert.deepEqual(this.leftovers(), []);
    this.remove();
  }

  remove() {
    this.agent.destroy();
    if (existsSync(this.dir)) rmSync(this.dir, { recursive: true, force: true });
  }
}
