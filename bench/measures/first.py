"""The first start of a new Python revision: nothing of it is there but its files."""
import json

from rig.daemon import Daemon, eventually
from rig.instances import Connection, forks, proof
from rig.ratios import Section, spread

ROUNDS = 15
PHASES = ("sandbox_ms", "code_ms", "load_ms")

# What it says of itself is the time that its own imports took.
CODE = """
import time
began = time.monotonic()
import numpy
imports_ms = (time.monotonic() - began) * 1000
def handler(event, context):
    return {{"imports_ms": imports_ms, "revision": {number}}}
"""


def gone(daemon):
    summary = daemon.function("first")["summary"]
    return not any(summary["instances"].values()) and summary["memory_bytes"] == 0


def first_call(daemon, number):
    """Of a revision that was never called: (the whole call, its imports, the receipt), in ms."""
    code = daemon.dir / f"app-{number}.py"
    code.write_text(CODE.format(number=number))
    daemon.deploy("first", "python", [(code, "app.py")], handler="app.handler", memory="160MiB",
                  python={"packages": "host"}, keep_alive="10m")
    eventually("what tried it out is gone", lambda: gone(daemon))
    eventually("a blank python", lambda: daemon.blanks("python") > 0)
    connection = Connection(daemon.port, "first", "null")
    took, text = connection.call()
    said = json.loads(text.split(b"\r\n\r\n", 1)[1])
    if said["revision"] != number:
        raise RuntimeError(f"revision {number} was deployed, {said['revision']} answered")
    identity = text.split(b"Dormouse-Invocation: ", 1)[1].split(b"\r\n", 1)[0].decode()
    receipt = daemon.json(f"/api/v1/invocations/{identity}")["receipts"][0]
    if receipt["rung"] == "template":
        raise RuntimeError("it was woken from a template")
    return took, said["imports_ms"], receipt


def run(watch):
    section = Section("first", "The first start of a new revision in Python")
    whole, imports, phases = [], [], {phase: [] for phase in (*PHASES, "run_ms")}
    with Daemon(watch) as daemon:
        first_call(daemon, 0)  # Brings the interpreter and numpy into the page cache.
        for number in range(1, ROUNDS + 1):
            took, own, receipt = first_call(daemon, number)
            whole.append(took)
            imports.append(own)
            for phase, values in phases.items():
                values.append({**receipt["wake"], "run_ms": receipt["run_ms"]}[phase])
            watch.look()
        walls = proof(forks(daemon)[0])
    section.add("Python: a first start less its own imports", "≤ 30 ms",
                [a - b for a, b in zip(whole, imports)], 30, unit=" ms")
    section.note(f"{ROUNDS} revisions are deployed, and each is called once there is nothing left of "
                 "its trial: a blank sandbox becomes its template, and a fork of that answers. "
                 "Its imports, numpy, are timed by itself. Medians (quartiles), ms.")
    section.table(["", "whole call", "imports", "sandbox", "code", "load", "run"],
                  [["first start", spread(whole), spread(imports),
                    *(spread(values) for values in phases.values())]])
    section.note(f"The last instance: {walls}.")
    return section
