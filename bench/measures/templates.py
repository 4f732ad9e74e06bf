"""Metrics 1 to 4: functions at zero, woken by a fork of their template."""
import json
import statistics
import subprocess
import time

from rig.daemon import Daemon, eventually
from rig.instances import SETTLED, Connection, instance_of, private_mib, proof
from rig.machine import PROGRAMS, REPOSITORY, output
from rig.ratios import Section, percentile, spread

CALLS = 200
BURSTS = 9
AT_ONCE = 100
HEAP_MIB = 256

NUMPY = """
import numpy
table = numpy.arange(1_000_000, dtype=numpy.float64)
def handler(event, context):
    return float(table[event["n"]])
"""


def cold_calls(daemon, name, body, watch):
    connection = Connection(daemon.port, name, body)
    connection.call()  # Makes the template.
    took = []
    for _ in range(CALLS):
        eventually(f"{name} sleeps", lambda: daemon.asleep(name))
        time.sleep(SETTLED)
        took.append(connection.call()[0])
    watch.look()
    return took


def warm_calls(daemon, name, body, watch):
    connection = Connection(daemon.port, name, body)
    connection.call()
    took = [connection.call()[0] for _ in range(CALLS)]
    watch.look()
    return took


def bursts(daemon, name, body, watch):
    """From the first of 100 requests at once, on open connections, to the last answer, in ms."""
    connections = [Connection(daemon.port, name, body) for _ in range(AT_ONCE)]
    took = []
    for _ in range(BURSTS):
        eventually(f"{name} sleeps", lambda: daemon.asleep(name))
        time.sleep(SETTLED)
        began = time.monotonic()
        for each in connections:
            each.send()
        for each in connections:
            each.receive()
        took.append((time.monotonic() - began) * 1000)
        watch.look()
    return took


def floor():
    return json.loads(output([PROGRAMS / "bench_fork_floor", HEAP_MIB, CALLS]))


def spawned_ms():
    """100 interpreters that import numpy, two at a time: what a process for each call would cost."""
    began = time.monotonic()
    running = []
    for _ in range(AT_ONCE):
        running.append(subprocess.Popen(["/usr/bin/python3", "-c", "import numpy"]))
        if len(running) > 2:
            running.pop(0).wait()
    for each in running:
        each.wait()
    return (time.monotonic() - began) * 1000


def deploy_all(daemon):
    native = REPOSITORY / "examples/native-heap"
    output([native / "build"])
    binary = [(native / "bootstrap", "bootstrap")]
    both = {"template_keep_alive": "1h", "max_instances": AT_ONCE, "timeout": "30s"}
    daemon.deploy("native", "executable", binary, memory="300MiB", keep_alive="0ms", **both)
    daemon.deploy("native-warm", "executable", binary, memory="300MiB", keep_alive="10m", **both)
    code = daemon.dir / "app.py"
    code.write_text(NUMPY)
    python = {"handler": "app.handler", "python": {"packages": "host"}, "memory": "160MiB", **both}
    daemon.deploy("numpy", "python", [(code, "app.py")], keep_alive="0ms", **python)
    daemon.deploy("numpy-warm", "python", [(code, "app.py")], keep_alive="10m", **python)
    for name in ("native", "numpy"):
        if daemon.function(name)["revision"]["notes"].get("template") != "yes":
            raise RuntimeError(f"{name} has no template: {daemon.function(name)['revision']['notes']}")


def run(watch):
    section = Section("templates", "Functions woken from a template (metrics 1 to 4)")
    with Daemon(watch) as daemon:
        deploy_all(daemon)
        walls, private = {}, {}
        for name, body in (("native", "27"), ("numpy", '{"n": 3}')):
            instance = instance_of(daemon, f"{name}-warm", body)
            walls[name], private[name] = proof(instance), private_mib(instance)
        warm = {"native": warm_calls(daemon, "native-warm", "27", watch),
                "numpy": warm_calls(daemon, "numpy-warm", '{"n": 3}', watch)}
        cold = {"native": cold_calls(daemon, "native", "27", watch),
                "numpy": cold_calls(daemon, "numpy", '{"n": 3}', watch)}
        below = floor()
        burst = {"native": bursts(daemon, "native", "27", watch),
                 "numpy": bursts(daemon, "numpy", '{"n": 3}', watch)}
        spawn = [spawned_ms()]
    middle = {name: statistics.median(each) for name, each in cold.items()}
    section.add("native, 256 MiB: cold p50", "≤ 2 ms", [middle["native"]], 2, unit=" ms")
    section.add("native: cold p99", "≤ 6 ms", [percentile(cold["native"], 0.99)], 6, unit=" ms")
    section.add("Python + numpy: cold p50 less warm p50", "≤ 12 ms",
                [middle["numpy"] - statistics.median(warm["numpy"])], 12, unit=" ms")
    section.add("native: an instance's own memory", "≤ 1 MiB", [private["native"]], 1, unit=" MiB")
    section.add("Python + numpy: an instance's own memory", "≤ 6 MiB", [private["numpy"]], 6,
                unit=" MiB")
    section.add("native: 100 calls at once / the floor's", "≤ 3×",
                [a / b for a, b in zip(burst["native"], below["hundred_ms"])], 3)
    section.add("Python + numpy: 100 spawned interpreters / 100 calls at once", "≥ 50×",
                [spawn[0] / each for each in burst["numpy"]], 50, at_least=True)
    section.note(f"Of a revision at zero a template waits, and one fork of it. Cold: {CALLS} calls "
                 "on an open connection, each with no instance there, a moment after the last one "
                 f"went. At once: {AT_ONCE} calls on open connections, {BURSTS} times; the function "
                 "decides by itself how many instances that takes. The floor forks a process with "
                 "a heap in huge pages, without a sandbox. Medians (quartiles), ms.")
    section.table(["", "warm", "cold", "cold p99", "100 at once"],
                  [[name, spread(warm[name], 2), spread(cold[name], 2),
                    f"{percentile(cold[name], 0.99):.2f}", spread(burst[name], 1)]
                   for name in ("native", "numpy")] +
                  [["floor", "", spread([us / 1000 for us in below["one_us"]], 2),
                    f"{percentile(below['one_us'], 0.99) / 1000:.2f}",
                    spread(below["hundred_ms"], 1)]])
    for name, text in walls.items():
        section.note(f"One {name} instance: {text}.")
    return section
