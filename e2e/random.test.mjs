// Forks of a template draw nothing twice: K1, K2. And the numbers that they compute are right.
import { test, before, after } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { roots } from "./platform.mjs";
import { apart, deployPython, ofTheHost, pythonIn, startPlatform } from "./pythons.mjs";

const unseeded = mkdtempSync(path.join(tmpdir(), "dormouse-unseeded-"));

// Our part of a root, but for what makes random states new in a fork: K1's control.
function makeUnseeded() {
  cpSync(`${roots}/host/opt/dormouse`, unseeded, { recursive: true });
  const file = path.join(unseeded, "python/dormouse_worker/template.py");
  const code = readFileSync(file, "utf8");
  const without = code.replace(/(def make_new\(\):\n {4}"""[^"]*""")/, "$1\n    return");
  assert.notEqual(without, code);
  writeFileSync(file, without);
  chmodSync(unseeded, 0o755);
}

let platform;
before(async () => {
  makeUnseeded();
  platform = await startPlatform(
    pythonIn(`${roots}/host`, "python-of-the-host", { more: ofTheHost }) +
      pythonIn(`${roots}/host`, "python-unseeded", { ours: unseeded, more: ofTheHost }),
  );
});
after(async () => {
  await platform.stop();
  rmSync(unseeded, { recursive: true });
});

const deploy = (...what) => deployPython(platform, ...what);
const call = (name, event) => platform.callJson(name, event);

test("no two forks draw the same random bytes (K1, K2), and the test would see it", async () => {
  const shown = await deploy(
    "dice",
    `import ctypes, os, random, secrets, ssl, time, uuid
random.random(); ssl.RAND_bytes(16); uuid.uuid4(); secrets.token_bytes(16)
own = random.Random(7)
tls = ssl.create_default_context()  # What forks inherit: a context, and a key to sign with.
crypto = ctypes.CDLL("libcrypto.so.3")
for name in ("EC_KEY_new_by_curve_name", "ECDSA_do_sign", "ECDSA_SIG_get0_r", "BN_bn2hex"):
    getattr(crypto, name).restype = ctypes.c_void_p
key = ctypes.c_void_p(crypto.EC_KEY_new_by_curve_name(415))
assert crypto.EC_KEY_generate_key(key) == 1

def hello():
    """The random bytes and the session that a client begins TLS with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        sent = outgoing.read()
        return sent[11:43].hex(), sent[44:44 + sent[43]].hex()

def nonce():
    """Of a signature, always of the same: r is equal where the nonce is."""
    signed = ctypes.c_void_p(crypto.ECDSA_do_sign(bytes(32), 32, key))
    r = ctypes.c_void_p(crypto.ECDSA_SIG_get0_r(signed))
    return ctypes.string_at(crypto.BN_bn2hex(r)).decode()

hello(), nonce()
def handler(event, context):
    time.sleep(0.03)  # So that another fork is sooner than this one.
    return {"random": random.getrandbits(128).to_bytes(16, "big").hex(), "os": os.urandom(16).hex(),
            "ssl": ssl.RAND_bytes(16).hex(), "uuid": uuid.uuid4().hex, "hello": hello(), "nonce": nonce(),
            "secrets": secrets.token_bytes(16).hex(), "own": own.getrandbits(128), "pid": os.getpid()}`,
    apart,
  );
  assert.equal(shown.revision.notes.template, "yes");
  const drawn = await draws("dice", process.env.DORMOUSE_NIGHTLY ? 10_000 : 500);
  const all = drawn.flatMap(({ random, os, ssl, uuid, secrets, hello, nonce }) => {
    assert.deepEqual([hello[0].length, hello[1].length, nonce.length > 50], [64, 64, true]);
    return [random, os, ssl, uuid, secrets, ...hello, nonce];
  });
  assert.equal(new Set(all).size, all.length);
  // The control: a generator of the function's own is copied, which template.md says.
  assert.ok(new Set(drawn.map(({ own }) => own)).size < drawn.length / 3);
});

// What so many forks have drawn. Some are called twice: those that are sooner than the next.
async function draws(name, forks) {
  const drawn = [];
  for (const pids = new Set(); pids.size < forks; ) {
    assert.ok(drawn.length < 4 * forks + 40, `${pids.size} forks were called ${drawn.length} times`);
    const answers = await Promise.all([0, 1, 2, 3].map(() => call(name)));
    answers.forEach((each) => pids.add(each.pid));
    drawn.push(...answers);
  }
  return drawn;
}

// How many of their draws are equal to another.
async function doubles(name, forks) {
  const all = (await draws(name, forks)).flatMap(({ drawn }) => drawn);
  return all.length - new Set(all).size;
}

test("K1: numpy's and torch's generators are new in a fork, and are not where nothing makes them so", async (t) => {
  const code = (module, draw) => `import ${module}, os, time
${draw}
def handler(event, context):
    time.sleep(0.03)
    return {"drawn": ${draw}.tolist(), "pid": os.getpid()}`;
  const without = await platform.deploy(
    { name: "without", runtime: "python", handler: "app.handler", memory: "128MiB" },
    { "app.py": "import numpy" },
  );
  assert.match(without.stderr, /No module named 'numpy'/);
  const host = { ...apart, python: { packages: "host" } };
  const numpy = code("numpy", "numpy.random.random(4)");
  await deploy("with-numpy", numpy, { ...host, memory: "256MiB" });
  assert.equal(await doubles("with-numpy", process.env.DORMOUSE_NIGHTLY ? 500 : 200), 0);
  await deploy("numpy-unseeded", numpy, { ...host, memory: "256MiB", runtime: "python-unseeded" });
  assert.ok((await doubles("numpy-unseeded", 16)) > 16);
  const torch = process.env.DORMOUSE_NIGHTLY && spawnSync("/usr/bin/python3", ["-c", "import torch"]);
  const skip = torch?.status !== 0 && "it takes long: with DORMOUSE_NIGHTLY=1, where there is torch";
  await t.test("torch", { skip }, async () => {
    const torch = code("torch", "torch.rand(4, dtype=torch.float64)");
    await deploy("with-torch", torch, { ...host, memory: "1GiB", runtime: "python-of-the-host" });
    assert.equal(await doubles("with-torch", 48), 0);
    await deploy("torch-unseeded", torch, { ...host, memory: "1GiB", runtime: "python-unseeded" });
    assert.ok((await doubles("torch-unseeded", 16)) > 16);
  });
});

// Where Debian's alternatives for libblas.so.3 are: its own, and OpenBLAS, which keeps threads.
for (const [name, folder] of [["the reference BLAS", "blas"], ["OpenBLAS", "openblas-pthread"]]) {
  const library = `/usr/lib/x86_64-linux-gnu/${folder}/libblas.so.3`;
  const skip = !existsSync((process.env.DORMOUSE_PYTHON_ROOT ?? "") + library) && `${library} is not installed: scripts/setup --test installs it`;
  test(`numpy on ${name} is forked, and its products are right in forks`, { skip }, async () => {
    const shown = await deploy(
      folder,
      `import ctypes, os, time
ctypes.CDLL("${library}", ctypes.RTLD_GLOBAL)  # numpy finds it loaded, whatever the host's choice is.
import numpy
numpy.ones((200, 200)) @ numpy.ones((200, 200))  # In the template, too.
def handler(seed, context):
    whole = numpy.random.default_rng(seed).integers(-99, 99, (2, 200, 200))
    floats = whole.astype("float64")
    right = bool((floats[0] @ floats[1] == whole[0] @ whole[1]).all())  # Whole numbers use no BLAS.
    used = {line.split()[-1] for line in open("/proc/self/maps") if "libblas.so" in line}
    time.sleep(0.03)  # So that another fork is sooner than this one.
    return {"right": right, "used": sorted(used), "pid": os.getpid()}`,
      { ...apart, memory: "256MiB", python: { packages: "host" } },
    );
    assert.equal(shown.revision.notes.template, "yes");
    const pids = new Set();
    for (let round = 0; round < 5; ++round) {
      for (const said of await Promise.all([1, 2, 3, 4].map((seed) => call(folder, seed)))) {
        assert.equal(said.right, true);
        assert.equal(said.used.length, 1, said.used.join());
        assert.ok(said.used[0].includes(`/${folder}/`), said.used[0]);
        pids.add(said.pid);
      }
    }
    assert.ok(pids.size > 5, `${pids.size} forks`);
  });
}
