"""The first start of a new Python revision: nothing of it is there but its files."""
import json

from rig.daemon import Daemon, eventually
from rig.instances import Connection, forks, proof
from rig.ratios import Section, spread

ROUNDS = 15
NAMES = ("first", "second")
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


def gone(daemon, name):
    summary = daemon.function(name)["summary"]
    return not any(summary["instances"].values()) and summary["memory_bytes"] == 0


def deploy(daemon, name, number):
    code = daemon.dir / f"{name}-{number}.py"
    code.write_text(CODE.format(number=number))
    daemon.deploy(name, "python", [(code, "app.py")], handler="app.handler", memory="160MiB",
                  python={"packages": "host"}, keep_alive="10m")
    eventually("what tried it out is gone", lambda: gone(daemon, name))


def call(daemon, connection, number):
    """Of a revision that was never called: (the whole call, its imports, the receipt), in ms."""
    took, text = connection.call()
    said = json.loads(text.split(b"\r\n\r\n", 1)[1])
    if said["revision"] != number:
        raise RuntimeError(f"revision {number} was deployed, {said['revision']} answered")
    identity = text.split(b"Dormouse-Invocation: ", 1)[1].split(b"\r\n", 1)[0].decode()
    receipt = daemon.json(f"/api/v1/invocations/{identity}")["receipts"][0]
    if receipt["rung"] == "template":
        raise RuntimeError("it was woken from a template")
    return took, said["imports_ms"], receipt


def first_calls(daemon, number):
    """Of two new revisions, one called right after the other: the second finds no blank sandbox."""
    for name in NAMES:
        deploy(daemon, name, number)
    eventually("a blank python", lambda: daemon.blanks("python") > 0)
    connections = [Connection(daemon.port, name, "null") for name in NAMES]
    return [call(daemon, connection, number) for connection in connections]


def columns(calls):
    """Medians and quartiles of what a table has of these calls."""
    tooks, imports, receipts = zip(*calls)
    phases = [[{**receipt["wake"], "run_ms": receipt["run_ms"]}[phase] for receipt in receipts]
              for phase in (*PHASES, "run_ms")]
    return [spread(values) for values in (tooks, imports, *phases)]


def run(watch):
    section = Section("first", "The first start of a new revision in Python")
    rounds = []
    with Daemon(watch) as daemon:
        first_calls(daemon, 0)  # Brings the interpreter and numpy into the page cache.
        for number in range(1, ROUNDS + 1):
            rounds.append(first_calls(daemon, number))
            watch.look()
        walls = proof(forks(daemon)[0])
    section.add("Python: a first start less its own imports", "≤ 30 ms",
                [took - imports for (took, imports, _), _ in rounds], 30, unit=" ms")
    section.note(f"{ROUNDS} times two revisions are deployed, and each is called once there is nothing "
                 "left of its trial. A blank sandbox becomes the template of the first, and a fork of "
                 "that answers. The second is called as soon as the first has answered, when the next "
                 "blank is not there yet, and waits for it. Their imports, numpy, are timed by "
                 "themselves. Medians (quartiles), ms.")
    section.table(["", "whole call", "imports", "sandbox", "code", "load", "run"],
                  [[name, *columns([pair[at] for pair in rounds])]
                   for at, name in enumerate(("first start", "another, right after it"))])
    section.note(f"The last instance: {walls}.")
    return section
