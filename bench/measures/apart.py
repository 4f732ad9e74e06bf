"""S3 and S6: a warm function while another one does its worst beside it."""
import http.client
import json
import os
import subprocess
import sys
import threading
import time

from rig.daemon import Daemon
from rig.instances import Connection, forks, proof
from rig.machine import PROGRAMS
from rig.ratios import Section, percentile, spread

ROUNDS, GROUPS = 28, 7  # A percentile is of a group of rounds together.
QUIET, SPAN = 3, 1.5  # Seconds of quiet, and then of each misdeed, in a round.
RATE = 500  # Calls of the warm function a second, by a timetable.
SETTLED = 0.5  # Seconds after a misdeed before anything is measured.

CODE = """
import os, time

def spin(end):
    while time.monotonic() < end: pass

def flood(end):
    piece = (b"p" * 1023 + b"\\n") * 1024
    while time.monotonic() < end: os.write(1, piece)

def bomb(end):
    while True:
        try: os.fork()
        except OSError: pass

def handler(event, context):
    globals()[event["does"]](time.monotonic() + event["seconds"])
"""
MISDEEDS = {"outside": "a process outside that gives way to all", "spin": "one that spins",
            "flood": "one that floods its output", "bomb": "a fork bomb"}
SHARES = (0.5, 0.9, 0.99)


def spin_outside():
    """What no sandbox could better: as much of a processor, by a process that everything displaces."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    end = time.monotonic() + SPAN
    while time.monotonic() < end:
        pass


def misdo(daemon, does):
    """Does it for SPAN seconds, or until it is timed out; when it began and ended, in ms."""
    bad = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    began = time.monotonic() * 1000
    if does == "outside":
        pid = os.fork()
        if pid == 0:
            try:
                spin_outside()
            finally:
                os._exit(sys.exc_info()[0] is not None)
        status, wanted = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0
    else:
        event = json.dumps({"does": does, "seconds": SPAN})
        bad.request("POST", "/f/bombs" if does == "bomb" else "/f/bad", event,
                    {"Content-Type": "application/json"})
        status, wanted = bad.getresponse().status, 504 if does == "bomb" else 200
    ended = time.monotonic() * 1000
    bad.close()
    if status != wanted:
        raise RuntimeError(f"{does}: it ended with {status}")
    return began, ended


def measured(daemon):
    """For each group the calls of the warm function that were due in each misdeed, in ms."""
    seconds = ROUNDS * (SETTLED + QUIET + len(MISDEEDS) * (SPAN + SETTLED + 0.3))
    load = subprocess.Popen([PROGRAMS / "bench_steady", str(daemon.port), "/f/calm", str(RATE),
                             str(int(seconds)), "elsewhere"], stdout=subprocess.PIPE, text=True)
    texts = []
    reader = threading.Thread(target=lambda: texts.append(load.communicate()[0]))
    reader.start()
    rounds = []
    for _ in range(ROUNDS):
        time.sleep(SETTLED)
        began = time.monotonic() * 1000
        time.sleep(QUIET)
        spans = {"quiet": (began, time.monotonic() * 1000)}
        for does in MISDEEDS:
            spans[does] = misdo(daemon, does)
            time.sleep(SETTLED)
        rounds.append(spans)
    reader.join()
    if load.returncode != 0:
        raise RuntimeError("a call of the warm function failed")
    calls = [tuple(map(float, line.split())) for line in texts[0].splitlines()]
    if calls[-1][0] < rounds[-1]["bomb"][1]:
        raise RuntimeError("the misdeeds took longer than the load beside them")
    took = lambda spans: [ms for due, ms in calls if any(a <= due < b for a, b in spans)]
    return [{does: took([spans[does] for spans in rounds[first::GROUPS]]) for does in rounds[0]}
            for first in range(GROUPS)]


def run(watch):
    section = Section("apart", "A warm function beside one that does its worst (S3, S6)")
    with Daemon(watch) as daemon:
        code = daemon.dir / "app.py"
        calm = "def handler(event, context): return event"
        for name, text, timeout in (("bad", CODE, 10 * SPAN), ("bombs", CODE, SPAN), ("calm", calm, 10)):
            code.write_text(text)
            daemon.deploy(name, "python", [(code, "app.py")], handler="app.handler",
                          memory="96MiB", keep_alive="10m", timeout=f"{timeout * 1000:.0f}ms")
        Connection(daemon.port, "calm", "null").call()
        groups = measured(daemon)
        watch.look()
        walls = proof(forks(daemon)[0])
    p99 = {does: [percentile(group[does], 0.99) for group in groups] for does in groups[0]}
    over = lambda does, what: [a / b for a, b in zip(p99[does], p99[what])]
    for does, name, bar in (("bomb", "S3: p99 beside a fork bomb", 1.5),
                            ("flood", "S6: p99 beside a flood of output", 1.2)):
        section.add(f"{name} / quiet", f"≤ {bar}×", over(does, "quiet"), bar)
        section.add(f"{name} / beside a process that gives way", f"≤ {bar}×", over(does, "outside"), bar)
    section.note(f"{RATE} calls a second of a warm function leave by a timetable, and count from when "
                 f"they were due. In each of {ROUNDS} rounds it is quiet for {QUIET} s, and then "
                 f"something uses up to one processor of two for {SPAN} s, one after another: a process "
                 "outside of dormouse in the scheduler's idle class, which everything else displaces; "
                 "and a function that does its worst. What the first costs a sibling is the machine's "
                 f"own price of a busy processor, which no sandbox can better. Medians (quartiles) of "
                 f"{GROUPS} groups of rounds, ms. Platform and functions are not pinned; the client "
                 "does not wait for a processor, as one elsewhere would not.")
    rows = [[f"beside {MISDEEDS[does]}" if does in MISDEEDS else does,
             *(spread([percentile(group[does], share) for group in groups], 2) for share in SHARES)]
            for does in groups[0]]
    section.table(["", "p50", "p90", "p99"], rows)
    section.note(f"One of the instances: {walls}.")
    return section
