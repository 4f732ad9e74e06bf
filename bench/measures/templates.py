"""Metrics 1 to 4: functions at zero, woken by a fork of their template."""
import json
import statistics
import subprocess
import time

from rig.daemon import Daemon, eventually
from rig.instances import SETTLED, Connection, instance_of, private_mib, proof
from rig.machine import PROGRAMS, REPOSITORY, output
from rig.ratios import Section, percentile, spread

ROUNDS = 9
CALLS = 60  # Cold ones of each function a round, and as many warm ones.
INSTANCES = 3  # Whose memory is looked at.
AT_ONCE = 100
HEAP_MIB = 256
BODIES = {"native": "27", "numpy": '{"n": 3}'}

NUMPY = """
import numpy
table = numpy.arange(1_000_000, dtype=numpy.float64)
def handler(event, context):
    return float(table[event["n"]])
"""


class Function:
    """One that sleeps at once, and the same that stays; connections to both are open."""

    def __init__(self, daemon, name):
        self.daemon, self.name, body = daemon, name, BODIES[name]
        self.cold = Connection(daemon.port, name, body)
        self.warm = Connection(daemon.port, f"{name}-warm", body)
        for each in (self.cold, self.warm):
            each.call()  # Makes the template.

    def pair(self):
        """A cold call and a warm one, in ms."""
        sleeps(self.daemon, self.name)
        return self.cold.call()[0], self.warm.call()[0]

    def burst(self):
        """100 calls at once, in ms. A connection without a request is not kept for as long as a round takes."""
        many = [Connection(self.daemon.port, self.name, BODIES[self.name]) for _ in range(AT_ONCE)]
        sleeps(self.daemon, self.name)
        took = at_once(many)
        for each in many:
            each.socket.close()
        return took


class Two:
    """Connections to a native function whose instances take one call each."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.both = [Connection(daemon.port, "native-clean", BODIES["native"]) for _ in range(2)]
        for each in self.both:
            each.call()  # The first makes the template; neither is left without a request.

    def second(self):
        """Of two cold calls at once the slower one, in ms: no fork waits for it."""
        sleeps(self.daemon, "native-clean")
        return at_once(self.both)


def sleeps(daemon, name):
    eventually(f"{name} sleeps", lambda: daemon.asleep(name))
    time.sleep(SETTLED)


def at_once(connections):
    """From the first request to the last answer, in ms."""
    began = time.monotonic()
    for each in connections:
        each.send()
    for each in connections:
        each.receive()
    return (time.monotonic() - began) * 1000


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
    daemon.deploy("native-clean", "executable", binary, memory="300MiB", keep_alive="0ms", reuse="clean",
                  **both)
    code = daemon.dir / "app.py"
    code.write_text(NUMPY)
    python = {"handler": "app.handler", "python": {"packages": "host"}, "memory": "160MiB", **both}
    daemon.deploy("numpy", "python", [(code, "app.py")], keep_alive="0ms", **python)
    daemon.deploy("numpy-warm", "python", [(code, "app.py")], keep_alive="10m", **python)
    for name in ("native", "native-clean", "numpy"):
        if daemon.function(name)["revision"]["notes"].get("template") != "yes":
            raise RuntimeError(f"{name} has no template: {daemon.function(name)['revision']['notes']}")


def memory_of(daemon, name):
    """What instances have of their own in MiB, 200 ms after their first answer, and the walls of one."""
    found = []
    for _ in range(INSTANCES):
        instance = instance_of(daemon, name, BODIES[name.removesuffix("-warm")])
        found.append(private_mib(instance))
        walls = proof(instance)
    return found, walls


def run(watch):
    section = Section("templates", "Functions woken from a template (metrics 1 to 4)")
    names = tuple(BODIES)
    cold, warm, burst = ({name: [] for name in names} for _ in range(3))
    one, hundred, spawned, second = [], [], [], []
    with Daemon(watch) as daemon:
        deploy_all(daemon)
        private, walls = zip(*(memory_of(daemon, f"{name}-warm") for name in names))
        functions, two = [Function(daemon, name) for name in names], Two(daemon)
        for _ in range(ROUNDS):
            for each in functions:
                pairs = [each.pair() for _ in range(CALLS)]
                cold[each.name].append([took for took, _ in pairs])
                warm[each.name].append([took for _, took in pairs])
                burst[each.name].append(each.burst())
            second += [two.second() for _ in range(CALLS)]
            below = floor()
            one += below["one_us"]
            hundred.append(statistics.median(below["hundred_ms"]))
            spawned.append(spawned_ms())
            watch.look()
    middle = {name: [statistics.median(each) for each in cold[name]] for name in names}
    later = [a - statistics.median(b) for a, b in zip(middle["numpy"], warm["numpy"])]
    every = {name: sum(cold[name], []) for name in names}
    section.add("native, 256 MiB: cold p50", "≤ 2 ms", middle["native"], 2, unit=" ms")
    section.add("native: cold p99", "≤ 6 ms", [percentile(every["native"], 0.99)], 6, unit=" ms")
    section.add("Python + numpy: cold p50 less warm p50", "≤ 12 ms", later, 12, unit=" ms")
    section.add("native: an instance's own memory", "≤ 1 MB",
                [mib * 1.048576 for mib in private[0]], 1, unit=" MB")
    section.add("Python + numpy: an instance's own memory", "≤ 6 MB",
                [mib * 1.048576 for mib in private[1]], 6, unit=" MB")
    section.add("native: 100 calls at once / the floor's", "≤ 3×",
                [a / b for a, b in zip(burst["native"], hundred)], 3)
    section.add("Python + numpy: 100 spawned interpreters / 100 calls at once", "≥ 50×",
                [a / b for a, b in zip(spawned, burst["numpy"])], 50, at_least=True)
    section.note("Of a revision at zero a template waits, and one fork of it, which takes a cold call "
                 f"that comes alone. {ROUNDS} rounds, in each of them {CALLS} pairs of a cold call and a "
                 "warm one, on open connections, for each function; the cold one meets no instance, a "
                 f"moment after the last one went. In each round also {CALLS} times two cold calls at the "
                 "same time, of a native function whose instances take one call each (`reuse: clean`): the "
                 "slower of the two waits for a fork of its own, and most of that for the kernel, which "
                 "lets a grace period go by before it moves the first process in a while into a control "
                 f"group. At once: {AT_ONCE} calls on open connections, in each round, as is the floor and as are the interpreters; the function "
                 "decides by itself how many instances that takes. The floor forks a process with a heap "
                 "in huge pages, without a sandbox. Cold and warm: of all calls, p99 of "
                 f"{ROUNDS * CALLS}. Medians (quartiles), ms.")
    section.table(["", "warm", "cold", "cold p99", "100 at once"],
                  [[name, spread(sum(warm[name], []), 2), spread(every[name], 2),
                    f"{percentile(every[name], 0.99):.2f}", spread(burst[name], 1)] for name in names] +
                  [["native, cold, a second call at the same time (forked for it)", "", spread(second, 2),
                    f"{percentile(second, 0.99):.2f}", ""],
                   ["floor", "", spread([us / 1000 for us in one], 2),
                    f"{percentile(one, 0.99) / 1000:.2f}", spread(hundred, 1)]])
    for name, text in zip(names, walls):
        section.note(f"One {name} instance: {text}.")
    return section
