"""Metrics 1 and 2 with large packages: torch, whose import takes seconds, and pandas."""
import json
import statistics
import time

import yaml

from rig.daemon import Daemon, eventually
from rig.instances import SETTLED, Connection, instance_of, private_mib, private_parts, proof
from rig.machine import REPOSITORY
from rig.ratios import Section, spread

ROUNDS, CALLS = 7, 15
INSTANCES = 5  # Of pandas, each in a function of its own.

INPUTS = json.dumps({"inputs": [[1] * 16]})
FRAME = json.dumps({"a": [1.5, 2.5, 3.5], "b": ["x", "y", "x"]})
TABLE = json.dumps({"isBase64Encoded": False, "body": "a,b\n1,x\n2,y\n,x\n"})


def deploy(daemon, example, name, **fields):
    """An example as it is, but for its name and how long it stays."""
    folder = REPOSITORY / "examples" / example
    manifest = {**yaml.safe_load((folder / "dormouse.yaml").read_text()),
                "template_keep_alive": "1h", **fields}
    del manifest["name"]
    daemon.deploy(name, manifest.pop("runtime"), [(folder / "app.py", "app.py")], **manifest)
    if daemon.function(name)["revision"]["notes"].get("template") != "yes":
        raise RuntimeError(f"{name} has no template")


def first_ms(daemon, name):
    """What its initialisation takes: the loading of the template, by the first call's receipt."""
    _, receipt = daemon.call(name, INPUTS, "application/json")
    return receipt["wake"]["load_ms"]


def cold_call(daemon, name, connection):
    eventually(f"{name} sleeps", lambda: daemon.asleep(name))
    time.sleep(SETTLED)
    return connection.call()[0]


def torch(daemon, watch):
    """(initialisation, cold, warm) in ms, medians of calls that take turns, one of each a round; and
    the walls of an instance."""
    deploy(daemon, "torch-mlp", "torch", keep_alive="0ms")
    deploy(daemon, "torch-mlp", "torch-warm", keep_alive="10m")
    begun = [first_ms(daemon, name) for name in ("torch", "torch-warm")]
    connections = {name: Connection(daemon.port, name, INPUTS) for name in ("torch", "torch-warm")}
    cold, warm = [], []
    for _ in range(ROUNDS):
        pairs = [(cold_call(daemon, "torch", connections["torch"]),
                  connections["torch-warm"].call()[0]) for _ in range(CALLS)]
        cold.append(statistics.median(a for a, _ in pairs))
        warm.append(statistics.median(b for _, b in pairs))
        watch.look()
    return begun, cold, warm, proof(instance_of(daemon, "torch-warm", INPUTS, after=0))


def saved(daemon, watch):
    """Calls of torch with nothing of it in memory, and its snapshot in the page cache, in ms."""
    deploy(daemon, "torch-mlp", "torch-saved", keep_alive="0ms", template_keep_alive="0ms", snapshot="on")
    took = []
    for _ in range(ROUNDS + 1):
        daemon.wait_until_cold("torch-saved", "python")
        ms, receipt = daemon.call("torch-saved", INPUTS, "application/json")
        if receipt["rung"] != "snapshot":
            raise RuntimeError(f"it was woken from {receipt['rung']}")
        took.append(ms)
        watch.look()
    return took[1:]  # The first lays its files out.


def pandas(daemon):
    """What instances have of their own in MB, 200 ms after their first answer: those of templates
    that have settled, those that waited since before; and the walls of one."""
    held, early = [], []
    for number in range(INSTANCES):
        name = f"pandas-{number}"
        deploy(daemon, "pandas-table", name, keep_alive="10m")
        early.append(private_mb(instance_of(daemon, name, TABLE, after=1)))
        instance = instance_of(daemon, name, TABLE, after=1)
        held.append(private_mb(instance))
    return held, early, proof(instance), breakdown(instance)


def grouped(daemon):
    """The same of a function that only uses pandas."""
    held = []
    for number in range(INSTANCES):
        name = f"grouped-{number}"
        daemon.deploy(name, "python", [(REPOSITORY / "bench/forks/grouped.py", "app.py")],
                      handler="app.handler", python={"packages": "host"}, memory="256MiB",
                      keep_alive="10m", template_keep_alive="1h")
        instance_of(daemon, name, FRAME, after=1)
        held.append(private_mb(instance_of(daemon, name, FRAME, after=1)))
    return held


def private_mb(instance):
    return private_mib(instance) * 1.048576


def breakdown(instance):
    """Where the memory of one lies, in words."""
    parts = private_parts(instance)
    known = {"": "the interpreter's arenas", "[heap]": "malloc's heap", "python3.11": "its static types",
             "page tables": "page tables"}
    told = [f"{words} {parts.get(name, 0) * 1.048576:.2f} MB" for name, words in known.items()]
    rest = sum(mib for name, mib in parts.items() if name not in known)
    return ", ".join(told) + f", the rest {rest * 1.048576:.2f} MB"


def run(watch):
    section = Section("packages", "Functions with torch and pandas (metrics 1 and 2)")
    with Daemon(watch) as daemon:
        begun, cold, warm, torch_walls = torch(daemon, watch)
        woken = saved(daemon, watch)
        held, early, walls, where = pandas(daemon)
        plain = grouped(daemon)
        watch.look()
    section.add("torch-mlp: its initialisation", "≥ 2,000 ms", begun, 2000, at_least=True, unit=" ms")
    section.add("torch-mlp: cold p50 less warm p50", "≤ 12 ms",
                [a - b for a, b in zip(cold, warm)], 12, unit=" ms")
    # A cold call may come out faster than a warm one: less than 0.1 ms is not told from nothing.
    section.add("torch-mlp: its initialisation / what a cold call takes more than a warm one", "≥ 100×",
                [statistics.median(begun) / max(a - b, 0.1) for a, b in zip(cold, warm)], 100,
                at_least=True)
    section.add("torch-mlp: a call with nothing of it in memory, woken from its snapshot / its initialisation",
                "≤ 0.05×", [each / statistics.median(begun) for each in woken], 0.05)
    section.add("Python + numpy + pandas, a small frame grouped: an instance's own memory", "≤ 6 MB",
                plain, 6, unit=" MB")
    section.add("Python + numpy + pandas, the example: an instance's own memory", "≤ 6 MB",
                held, 6, unit=" MB")
    section.note(f"The examples as they are. torch: {ROUNDS} rounds of medians of {CALLS} cold and "
                 f"{CALLS} warm calls that take turns, each cold one with no instance there. pandas: "
                 f"Private_Dirty and page tables of {INSTANCES} instances, each of a template of its "
                 "own, 200 ms after its first answer; of `examples/pandas-table`, which reads a table and "
                 "describes its columns, and of `bench/forks/grouped.py`. The example's instance before "
                 f"it, which was forked before the template had settled, has {spread(early)} MB. "
                 "Medians (quartiles), ms.")
    section.table(["", "initialisation", "cold", "warm", "with `snapshot: on`, from disk"],
                  [["torch-mlp", spread(begun, 0), spread(cold, 2), spread(warm, 2), spread(woken, 1)]])
    section.note(f"What one instance of the example has of its own: {where}. Most of it are pages of the template's in which "
                 "a call has counted references to objects, and so copied them.")
    section.note(f"One instance with torch: {torch_walls}.")
    section.note(f"One instance with pandas: {walls}.")
    return section
