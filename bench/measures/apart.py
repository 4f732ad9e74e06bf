"""S3 and S6: a warm function while another one does its worst beside it."""
import http.client
import json
import subprocess
import threading
import time

from rig.daemon import Daemon
from rig.instances import Connection, forks, proof
from rig.machine import PROGRAMS
from rig.ratios import Section, percentile, spread

ROUNDS, GROUPS = 28, 7  # Of each misdeed. A percentile is of a group of rounds together.
SPAN = 1.5  # Seconds of quiet, and then of noise, in each round.
RATE = 500  # Calls of the warm function a second, by a timetable.
SETTLED = 0.25  # Seconds after a misdeed before it is quiet again.

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
MISDEEDS = {"spin": "spins", "flood": "floods its output", "bomb": "is a fork bomb"}
SHARES = (0.5, 0.9, 0.99)


def misdo(daemon, does):
    """Does it for SPAN seconds, or until it is timed out; when it began and ended, in ms."""
    bad = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    began = time.monotonic() * 1000
    event = json.dumps({"does": does, "seconds": SPAN})
    bad.request("POST", "/f/bombs" if does == "bomb" else "/f/bad", event,
                {"Content-Type": "application/json"})
    status = bad.getresponse().status
    ended = time.monotonic() * 1000
    bad.close()
    if status != (504 if does == "bomb" else 200):
        raise RuntimeError(f"{does}: it was answered with {status}")
    return began, ended


def measured(daemon, does):
    """For each group the calls of the warm function that were due in noise and in quiet, in ms."""
    load = subprocess.Popen([PROGRAMS / "bench_steady", str(daemon.port), "/f/calm", str(RATE),
                             str(int(ROUNDS * (2 * SPAN + 0.6))), "elsewhere"],
                            stdout=subprocess.PIPE, text=True)
    texts = []
    reader = threading.Thread(target=lambda: texts.append(load.communicate()[0]))
    reader.start()
    spans = []
    for _ in range(ROUNDS):
        time.sleep(SETTLED + SPAN)
        spans.append(misdo(daemon, does))
    reader.join()
    if load.returncode != 0:
        raise RuntimeError("a call of the warm function failed")
    calls = [tuple(map(float, line.split())) for line in texts[0].splitlines()]
    if calls[-1][0] < spans[-1][1]:
        raise RuntimeError("the misdeeds took longer than the load beside them")
    groups = [spans[first::GROUPS] for first in range(GROUPS)]
    took = lambda spans: [ms for due, ms in calls if any(a <= due < b for a, b in spans)]
    before = lambda spans: [(begin - 1000 * SPAN, begin) for begin, _ in spans]
    return [(took(group), took(before(group))) for group in groups]


def run(watch):
    section = Section("apart", "A warm function beside one that does its worst (S3, S6)")
    rows = []
    with Daemon(watch) as daemon:
        code = daemon.dir / "app.py"
        calm = "def handler(event, context): return event"
        for name, text, timeout in (("bad", CODE, 10 * SPAN), ("bombs", CODE, SPAN), ("calm", calm, 10)):
            code.write_text(text)
            daemon.deploy(name, "python", [(code, "app.py")], handler="app.handler",
                          memory="96MiB", keep_alive="10m", timeout=f"{timeout * 1000:.0f}ms")
        Connection(daemon.port, "calm", "null").call()
        ratios = {}
        for does, what in MISDEEDS.items():
            groups = measured(daemon, does)
            ratios[does] = [percentile(loud, 0.99) / percentile(quiet, 0.99) for loud, quiet in groups]
            for side, name in enumerate((f"beside one that {what}", "quiet")):
                rows.append([name, *(spread([percentile(group[side], share) for group in groups], 2)
                                     for share in SHARES)])
            watch.look()
        walls = proof(forks(daemon)[0])
    section.add("S3: p99 beside a fork bomb / quiet", "≤ 1.5×", ratios["bomb"], 1.5)
    section.add("S6: p99 beside a flood of output / quiet", "≤ 1.2×", ratios["flood"], 1.2)
    section.note(f"{RATE} calls a second of a warm function leave by a timetable, and count from when "
                 f"they were due. In {ROUNDS} rounds another function, which may use one processor of "
                 f"two, does something for {SPAN} s; quiet are the {SPAN} s before. Medians "
                 f"(quartiles) of {GROUPS} groups of rounds, ms. Platform and functions are not "
                 "pinned; the client does not wait for a processor, as one elsewhere would not.")
    section.table(["", "p50", "p90", "p99"], rows)
    section.note(f"One of the instances: {walls}.")
    return section
