"""Metric 15, its first half: a warm function while others start from zero beside it."""
import json
import statistics
import subprocess
import time

from rig.daemon import Daemon, eventually
from rig.instances import SETTLED, Connection, forks, proof
from rig.machine import PROGRAMS
from rig.ratios import Section, percentile, spread

BURSTS, GROUPS = 42, 7
STARTS, HOLD_MS = 100, 1500
RATE = 500  # Calls of the warm function a second, by a timetable.
PAUSE = 0.5  # Seconds of quiet before each burst.


def burst(daemon, connections):
    """When 100 cold starts began and when the last of them had its call, in ms."""
    eventually("hold sleeps", lambda: daemon.asleep("hold"))
    time.sleep(SETTLED + PAUSE)
    began = time.monotonic() * 1000
    for each in connections:
        each.send()
    answers = [json.loads(each.receive().split(b"\r\n\r\n", 1)[1]) for each in connections]
    apart = len({answer["uid"] for answer in answers})
    if apart < STARTS * 0.9:  # One may be given a second call rather than wait for another fork.
        raise RuntimeError(f"{STARTS} calls were answered by {apart} instances")
    return began, max(answer["began_ms"] for answer in answers)


def steady(daemon, seconds):
    return subprocess.Popen([PROGRAMS / "bench_steady", str(daemon.port), "/f/warm", str(RATE),
                             str(seconds)], stdout=subprocess.PIPE, text=True)


def timed(daemon):
    """(due, took) of the warm function's calls in ms, and the bursts meanwhile."""
    connections = [Connection(daemon.port, "hold", str(HOLD_MS)) for _ in range(STARTS)]
    burst(daemon, connections)  # What it takes to start so many is learned.
    load = steady(daemon, 4 * BURSTS)
    spans = [burst(daemon, connections) for _ in range(BURSTS)]
    text, _ = load.communicate()
    if load.returncode != 0:
        raise RuntimeError("a call of the warm function failed")
    calls = [tuple(map(float, line.split())) for line in text.splitlines()]
    if calls[-1][0] < spans[-1][1]:
        raise RuntimeError("the bursts took longer than the load beside them")
    return calls, spans


def took(calls, begin, end):
    return [ms for due, ms in calls if begin <= due < end]


def run(watch):
    section = Section("interference", "A warm function beside cold starts (metric 15)")
    with Daemon(watch, node={"memory": "512GiB"}) as daemon:
        binary = [(PROGRAMS / "bench_hold", "bootstrap")]
        both = {"memory": "1GiB", "template_keep_alive": "1h", "timeout": "60s"}
        daemon.deploy("hold", "executable", binary, keep_alive="0ms", max_instances=STARTS, **both)
        daemon.deploy("warm", "echo", keep_alive="10m", memory="64MiB", concurrency=32,
                      max_instances=1)
        Connection(daemon.port, "hold", str(HOLD_MS)).call()
        Connection(daemon.port, "warm", "27").call()
        calls, spans = timed(daemon)
        walls = proof(forks(daemon)[0])
        watch.look()
    quiet = [took(calls, begin - 1000 * PAUSE, begin) for begin, _ in spans]
    loud = [took(calls, begin, end) for begin, end in spans]
    # A burst is over in some dozens of calls: percentiles are of several bursts together.
    groups = [range(first, BURSTS, GROUPS) for first in range(GROUPS)]
    pooled = lambda sides, group: [ms for number in group for ms in sides[number]]
    figures = {share: [(percentile(pooled(loud, group), share), percentile(pooled(quiet, group), share))
                       for group in groups] for share in (0.5, 0.9, 0.99)}
    section.add("p90 of calls that begin in a burst of 100 cold starts / quiet", "≤ 2.5×",
                [a / b for a, b in figures[0.9]], 2.5)
    middle = statistics.median(end - begin for begin, end in spans)
    section.note(f"{RATE} calls a second of a warm function leave by a timetable, and count from when "
                 f"they were due. Beside it, {BURSTS} times, {STARTS} calls find another function at "
                 f"zero and start as many instances, which takes {middle:.0f} ms (median). Loud are "
                 f"the {sum(map(len, loud))} calls due meanwhile, quiet those of the {PAUSE} s before. "
                 f"Medians (quartiles) of {GROUPS} groups of bursts, ms. Nothing is pinned.")
    section.table(["", "p50", "p90", "p99"],
                  [[name, *(spread([pair[side] for pair in figures[share]], 2) for share in figures)]
                   for side, name in enumerate(("beside cold starts", "quiet"))])
    section.note(f"One of the instances that start: {walls}.")
    return section
