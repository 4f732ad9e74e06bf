"""Language models, beside llama.cpp's own server on the same files."""
import http.client
import json
import os
import pathlib
import subprocess
import threading
import time

from rig.daemon import Daemon, eventually
from rig.instances import forks, private_mib
from rig.machine import REPOSITORY, output, populate
from rig.peers import free_port
from rig.ratios import Section, spread

MODELS = REPOSITORY / "build/bench/llm"
SERVER = pathlib.Path(os.environ.get("DORMOUSE_DEPS") or REPOSITORY / ".deps") / "llama-server/llama-server"
KINDS = ("q8_0", "q4_0", "q4_k_m")
PAIRS, SLOTS, CONTEXT, THREADS = 9, 8, 4096, 2
PROMPT, GENERATED, CLIENTS = 512, 48, (1, 4, 8)
FIRST_TOKENS = 15


class Endpoint:
    """Something that completes texts as OpenAI's API does."""

    def __init__(self, port, model):
        self.port, self.model, self.asked = port, model, 0

    def body(self, tokens, **more):
        # Of numbers that no prompt before it began with, so that nothing of it is known.
        self.asked += 1
        prompt = [1, 1000 + self.asked % 20000, 2000 + self.asked // 7] + [5000 + i * 7 % 20000 for i in range(tokens - 3)]
        return json.dumps({"model": self.model, "prompt": prompt, "temperature": 0, "ignore_eos": True, **more})

    def complete(self, body):
        """Seconds until its first byte, and until its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        began = time.monotonic()
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{self.model}: {response.status} {response.read()[:300]!r}")
        response.read(1)
        first = time.monotonic() - began
        response.read()
        connection.close()
        return first, time.monotonic() - began

    def first_token(self, tokens):
        return self.complete(self.body(tokens, max_tokens=1, stream=True))[0]

    def generated_per_second(self, clients):
        bodies = [self.body(16, max_tokens=GENERATED) for _ in range(clients)]
        threads = [threading.Thread(target=self.complete, args=(body,)) for body in bodies]
        began = time.monotonic()
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return clients * GENERATED / (time.monotonic() - began)


class LlamaServer:
    """On as many threads and slots; nothing of it answers before the model is there."""

    def __init__(self, model):
        self.port = free_port()
        self.process = subprocess.Popen(
            [SERVER, "-m", model, "--port", str(self.port), "-t", str(THREADS), "-np", str(SLOTS),
             "-c", str(CONTEXT * SLOTS), "--kv-unified", "--no-webui"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.endpoint = Endpoint(self.port, "any")

    def wait(self):
        eventually("llama-server is ready", self.ready)

    def ready(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def deploy(daemon, kind, **fields):
    daemon.deploy(kind.replace("_", "-"), "llm", [(MODELS / f"{kind}.gguf", "model.gguf")], model="model.gguf",
                  memory="2GiB", cpu=THREADS, threads=THREADS, concurrency=SLOTS, timeout="10m", llm={"context": CONTEXT},
                  **fields)
    return Endpoint(daemon.port, kind.replace("_", "-"))


def beside(section, watch, kind, rows):
    """Pairs of the same work, in turn."""
    work = {f"decode, {clients} clients" if clients > 1 else "decode, 1 client":
            lambda end, clients=clients: end.generated_per_second(clients) for clients in CLIENTS}
    work["prompt"] = lambda end: PROMPT / end.first_token(PROMPT)
    with Daemon(watch) as daemon, LlamaServer(MODELS / f"{kind}.gguf") as server:
        ours = deploy(daemon, kind, keep_alive="10m")
        server.wait()
        for end in (ours, server.endpoint):
            end.first_token(16)
        for what, measure in work.items():
            pairs = []
            for turn in range(PAIRS):
                sides = (ours, server.endpoint) if turn % 2 == 0 else (server.endpoint, ours)
                rates = {end: measure(end) for end in sides}
                pairs.append((rates[ours], rates[server.endpoint]))
            section.add(f"{kind}: {what}, tokens a second / llama-server's", "≥ 0.97× (quartile 0.95)",
                        [a / b for a, b in pairs], 0.95, at_least=True)
            rows.append([kind, what, spread([a for a, _ in pairs]), spread([b for _, b in pairs])])
            watch.look()


def spawned(kind):
    """Seconds from llama-server's spawning to its first token."""
    began = time.monotonic()
    with LlamaServer(MODELS / f"{kind}.gguf") as server:
        while not server.ready():
            time.sleep(0.002)
        server.endpoint.first_token(64)
        return time.monotonic() - began


def waking(section, watch, kind, rows):
    cold, warm = [], []
    with Daemon(watch) as daemon:
        name = kind.replace("_", "-")
        ours = deploy(daemon, kind, keep_alive="300ms")
        ours.first_token(64)
        for _ in range(FIRST_TOKENS):
            daemon.wait_until_cold(name)
            time.sleep(0.5)  # A fork waits by then.
            cold.append(ours.first_token(64))
            warm.append(ours.first_token(64))
            watch.look()
        section.add(f"{kind}: first token from the template / warm", "≤ 1.15×", [a / b for a, b in zip(cold, warm)], 1.15)
        daemon.wait_until_cold(name)
        time.sleep(1)
        private = max(private_mib(pid) for pid in forks(daemon)) * 2**20
        size = (MODELS / f"{kind}.gguf").stat().st_size
        section.add(f"{kind}: memory of a further idle instance / the model's bytes", "≤ 0.03×", [private / size], 0.03)
    artefact, server = [], []
    with Daemon(watch) as daemon:
        ours = deploy(daemon, kind, keep_alive="0ms", template_keep_alive="0ms")
        for _ in range(5):
            eventually("nothing is left of it", lambda: daemon.function(name)["summary"]["memory_bytes"] == 0)
            populate(daemon.tree(name) / "model.gguf")
            artefact.append(ours.first_token(64))
            populate(MODELS / f"{kind}.gguf")
            server.append(spawned(kind))
            watch.look()
    if server:
        section.add(f"{kind}: first token from the artefact / from llama-server's spawning", "≤ 0.5×",
                    [a / b for a, b in zip(artefact, server)], 0.5)
    rows.append([kind, *(spread([1000 * x for x in each]) if each else "—" for each in (warm, cold, artefact, server))])


def run(watch):
    section = Section("llm", "Language models")
    output(["/usr/bin/python3", REPOSITORY / "bench/models/llm.py", MODELS])
    rates, firsts = [], []
    for kind in KINDS:
        if SERVER.exists():
            beside(section, watch, kind, rates)
        waking(section, watch, kind, firsts)
    sizes = ", ".join(f"{kind} {(MODELS / f'{kind}.gguf').stat().st_size >> 20} MiB" for kind in KINDS)
    section.note(f"Models of random weights, {sizes}; {THREADS} threads and {SLOTS} slots of {CONTEXT} tokens on both "
                 f"sides, in turn. Decoding goes on from 16 tokens for "
                 f"{GENERATED}; a prompt has {PROMPT}. Medians (quartiles), tokens a second.")
    section.table(["model", "what", "dormouse", "llama-server"], rates)
    section.note("To the first token after a prompt of 64 that is new, ms; all over HTTP, the page cache warm.")
    section.table(["model", "warm", "from the template", "from the artefact", "llama-server, from spawning"], firsts)
    return section
