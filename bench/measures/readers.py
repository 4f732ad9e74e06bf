"""O5: a thousand clients that read a byte a second of a model's stream, beside another function.

The model is the tests' own worker, which says as many words as it is told: what is measured is the
platform, and a real model on two processors would have no thousand streams.
"""
import json
import subprocess
import time

from rig.daemon import ROOTS, Daemon, eventually
from rig.machine import REPOSITORY
from rig.peers import load
from rig.ratios import Section, spread

ROUNDS, READERS, SETTLED = 7, 1000, 1.0
CALLS = {"connections": 1, "requests": 3000, "warm_up": 200}
# Of the first, the kernel takes all that they do not read; of the others the platform holds it.
KINDS = {"as any client is": (600, ()), "that leave the kernel little room": (1700, ("--narrow",))}


class Readers:
    def __init__(self, daemon, words, more):
        asked = json.dumps({"model": "slowly", "messages": [{"content": f"stall {words}"}], "stream": True},
                           separators=(",", ":"))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" \
               f"Content-Length: {len(asked)}\r\n\r\n"
        self.daemon = daemon
        self.process = subprocess.Popen(
            [REPOSITORY / "e2e/slow_readers.py", str(daemon.port), str(READERS), head + asked, *more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdout.readline()  # All have asked.
        eventually("all are served", lambda: self.running() == READERS)
        eventually("all have stalled", self.rests)

    def running(self):
        return self.daemon.function("slowly")["summary"]["running"]

    def rests(self):
        """Nothing of the platform's computes for a while: each stream has stopped where it is told to."""
        pids = [self.daemon.process.pid, *self.daemon.workers()]
        used = lambda: sum(int(word) for pid in pids for word in open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:13])
        before = used()
        time.sleep(SETTLED)
        return used() - before <= 3  # Of a hundred in a second.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()
        eventually("all are gone", lambda: self.running() == 0)
        time.sleep(SETTLED)


def run(watch):
    section = Section("readers", "A thousand slow readers of a stream")
    talker = {"root": f"{ROOTS}/probe", "argv": ["/bin/worker"], "blanks": 0, "language_models": True}
    rows = []
    with Daemon(watch, runtimes={"talker": talker}) as daemon:
        daemon.deploy("echo", "echo", keep_alive="10m", memory="64MiB", concurrency=32, max_instances=1)
        daemon.deploy("slowly", "talker", memory="64MiB", concurrency=READERS, max_instances=1, timeout="10m")
        load(daemon.port, "/f/echo", "0,1", **CALLS)
        for kind, (words, more) in KINDS.items():
            quiet, beside = [], []
            for _ in range(ROUNDS):
                quiet.append(load(daemon.port, "/f/echo", "0,1", **CALLS))
                with Readers(daemon, words, more):
                    beside.append(load(daemon.port, "/f/echo", "0,1", **CALLS))
                watch.look()
            section.add(f"readers {kind}: p99 of another function / quiet", "≤ 1.2×",
                        [a["p99"] / b["p99"] for a, b in zip(beside, quiet)], 1.2)
            rows += [[f"{name}", *(spread([each[figure] for each in side]) for figure in ("p50", "p90", "p99"))]
                     for name, side in (("quiet", quiet), (f"beside readers {kind}", beside))]
    section.note(f"{READERS} clients that read a byte a second each of a stream that has stalled by then. Nothing is pinned; the clients, "
                 "which take their part of the processors, are among what is beside.")
    section.table(["", "p50 µs", "p90 µs", "p99 µs"], rows)
    return section
