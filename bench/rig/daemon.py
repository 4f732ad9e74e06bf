"""A daemon to measure: its own data folder, its own port, and what can be asked of it."""
import http.client
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from rig.machine import BUILD, in_group, processes

PROGRAM = BUILD / "src/daemon/dormouse"
ROOTS = BUILD / "roots"


def eventually(what, question, seconds=60):
    end = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.005)
    return answer


def put(source, target):
    """A deploy takes plain files only; a second name for one is enough."""
    try:
        target.hardlink_to(source)
    except OSError:  # Another file system.
        shutil.copyfile(source, target)


class Daemon:
    def __init__(self, watch, core=None, echo_blanks=1, onnx_blanks=0, data=None, node=None,
                 signed=False, runtimes=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="dormouse-bench-"))
        self.data = data or self.dir / "data"
        config = {
            # So that the number of instances is not what is measured.
            "node": {"cpu": 64, **(node or {})},
            "runtimes": {
                "echo": {"root": f"{ROOTS}/bench_echo", "argv": ["/bin/worker"],
                         "blanks": echo_blanks},
                "unblanked": {"root": f"{ROOTS}/bench_echo", "argv": ["/bin/worker"], "blanks": 0},
                "onnx": {"root": f"{ROOTS}/onnx", "argv": ["/bin/init", "/bin/worker"],
                         "prepares": True, "forks": True, "snapshots": True,
                         "blanks": onnx_blanks},
                "onnx_loaded": {"root": f"{ROOTS}/onnx", "argv": ["/bin/init", "/bin/worker"],
                                "prepares": True, "forks": True, "blanks": onnx_blanks},
                **(runtimes or {}),
            },
        }
        (self.dir / "config.yaml").write_text(json.dumps(config))  # JSON is YAML, too.
        words = ["taskset", "-c", str(core)] if core is not None else []
        self.keys = self.make_keys() if signed else None
        guarded = ["--key-file", self.dir / "keys"] if signed else []
        self.log = open(self.dir / "log", "w+")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [*words, PROGRAM, "serve", "--data", self.data, "--listen", "127.0.0.1:0", "--config",
             self.dir / "config.yaml", *guarded], stdout=subprocess.DEVNULL, stderr=self.log)
        self.port = int(eventually("the daemon listens", self.listening))
        self.started_in = time.monotonic() - began
        self.mark = "dormouse-" + (self.data / "sandboxes/id").read_text().strip()
        watch.marks.add(self.mark)
        self.url = f"http://127.0.0.1:{self.port}"
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def make_keys(self):
        """One that AWS's clients sign with: a key, and their two halves of it."""
        said = subprocess.run([PROGRAM, "key", "new", "--aws", "--json", "--file", self.dir / "keys"],
                              capture_output=True, text=True, check=True)
        return json.loads(said.stdout)

    def listening(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"serve ended: {(self.dir / 'log').read_text()}")
        found = re.search(r"serves http://[^:]+:(\d+)", (self.dir / "log").read_text())
        return found and found[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def deploy(self, name, runtime, files=(), **fields):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        manifest = {"name": name, "runtime": runtime, **fields}
        (folder / "dormouse.yaml").write_text(json.dumps(manifest))
        for source, target in files:
            put(source, folder / target)
        key = ["--key", self.keys["key"]] if self.keys else []
        done = subprocess.run([PROGRAM, "deploy", folder, "--url", self.url, *key],
                              capture_output=True, text=True)
        self.connection.close()  # It idled; the next question opens another.
        if done.returncode != 0:
            raise RuntimeError(f"deploying {name}: {done.stderr}{done.stdout}")

    def ask(self, method, path, body=None, kind="application/json"):
        headers = {"Content-Type": kind} if body is not None else {}
        if self.keys:
            headers["x-api-key"] = self.keys["key"]
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]!r}")
        return response.headers, text

    def json(self, path):
        return json.loads(self.ask("GET", path)[1])

    def function(self, name):
        return self.json(f"/api/v1/functions/{name}")["function"]

    def tree(self, name):
        """The folder that is /code in the function's sandboxes."""
        digest = self.function(name)["revision"]["digest"].split(":")[-1]
        # The name of one with prepared files goes on after the digest; the last has the snapshot, too.
        return max((self.data / "blobs/trees").glob(digest + "*"),
                   key=lambda tree: ((tree / ".dormouse/snapshot").exists(), len(tree.name)))

    def call(self, name, body, kind="text/plain"):
        """One call: how long it took here in ms, and its receipt."""
        began = time.monotonic()
        headers, _ = self.ask("POST", f"/f/{name}", body, kind)
        took = (time.monotonic() - began) * 1000
        receipts = self.json(f"/api/v1/invocations/{headers['Dormouse-Invocation']}")["receipts"]
        return took, receipts[0]

    def asleep(self, name):
        return not any(self.function(name)["summary"]["instances"].values())

    def blanks(self, runtime):
        text = self.ask("GET", "/metrics")[1].decode()
        return int(re.search(rf'dormouse_blank_sandboxes{{runtime="{runtime}"}} (\d+)', text)[1])

    def wait_until_cold(self, name, runtime=None):
        eventually(f"{name} sleeps", lambda: self.asleep(name))
        if runtime:
            eventually(f"a blank {runtime}", lambda: self.blanks(runtime) > 0)
        time.sleep(0.02)

    def workers(self):
        found = []
        for pid in processes():
            if in_group(pid, self.mark):
                name = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                if name.startswith(b"/bin/worker"):
                    found.append(pid)
        return found
