"""Language models to measure: on a daemon, and on llama.cpp's own server."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import subprocess
import time

from rig.daemon import eventually
from rig.machine import REPOSITORY, output
from rig.peers import free_port

MODELS = REPOSITORY / "build/bench/llm"
SERVER = pathlib.Path(os.environ.get("DORMOUSE_DEPS") or REPOSITORY / ".deps") / "llama-server/llama-server"
SLOTS, CONTEXT, THREADS = 8, 4096, 2


def make_models():
    output(["/usr/bin/python3", REPOSITORY / "bench/models/llm.py", MODELS])


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

    def generated_per_second(self, clients, generated):
        bodies = [self.body(16, max_tokens=generated) for _ in range(clients)]
        with concurrent.futures.ThreadPoolExecutor(clients) as threads:
            began = time.monotonic()
            for done in [threads.submit(self.complete, body) for body in bodies]:
                done.result()  # Raises what went wrong.
            return clients * generated / (time.monotonic() - began)


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
