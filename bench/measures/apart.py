"""S3 and S6: a warm function while another one does its worst beside it."""
import collections
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

from rig.daemon import Daemon
from rig.instances import Connection, forks, proof
from rig import waits
from rig.machine import PROGRAMS, processes, threads
from rig.ratios import Section, percentile, spread

ROUNDS, GROUPS = 21, 7  # A percentile is of a group of rounds together.
QUIET, SPAN, BOMBED = 3, 1.5, 6  # Seconds of quiet, of each misdeed, and of fork bombs, in a round.
RATE = 500  # Calls of the warm function a second, by a timetable.
TRACED, SLOW = 6, 2  # Rounds that are traced, of each; what is slow, in ms.
CAUSES = ("behind it", "behind dormouse itself", "behind the kernel or others", "nobody waited")
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
        except OSError: pass  # For as long as it is let.

def handler(event, context):
    globals()[event["does"]](time.monotonic() + event["seconds"])
"""
MISDEEDS = {"outside": "a process outside that gives way to all", "spin": "one that spins",
            "flood": "one that floods its output", "bomb": "a fork bomb, called whenever it may be"}
SHARES = (0.5, 0.9, 0.99)


def outside():
    """What no sandbox could better: as much of a processor, by a process that everything displaces."""
    pid = os.fork()
    if pid != 0:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        spin_in_idle_class()
    finally:
        os._exit(sys.exc_info()[0] is not None)


def spin_in_idle_class():
    pathlib.Path("/proc/self/comm").write_text("python3")  # By which named() knows it.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    end = time.monotonic() + SPAN
    while time.monotonic() < end:
        pass


def misdo(daemon, does, bombed=SPAN):
    """Does it for SPAN seconds; when it began and ended, in ms, and when bombs lived meanwhile."""
    began, lives = now_ms(), []
    if does == "outside":
        status = outside()
    elif does == "bomb":
        status, lives = 200, bombs(daemon, bombed)
    else:
        status = ask_for(daemon, "bad", does)[0]
    if status != (0 if does == "outside" else 200):
        raise RuntimeError(f"{does}: it ended with {status}")
    return began, now_ms(), lives


def bombs(daemon, seconds):
    """A function of its own that is a bomb, called as often as the platform lets a client that does
    as it is told (Retry-After). When each of them lived, in ms."""
    name, lives, end = next(daemon.bombs), [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = now_ms()
        status, retry_after = ask_for(daemon, name, "bomb")
        if status == 502:
            lives.append((began, now_ms()))
        elif status != 503:
            raise RuntimeError(f"a bomb ended with {status}")
        time.sleep(max(0, min(retry_after, end - time.monotonic())))
    return lives


def ask_for(daemon, name, does):
    """The status, and the seconds after which to ask again."""
    bad = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    bad.request("POST", f"/f/{name}", json.dumps({"does": does, "seconds": SPAN}),
                {"Content-Type": "application/json"})
    answer = bad.getresponse()
    bad.close()
    return answer.status, float(answer.headers.get("Retry-After", 0))


def now_ms():
    return time.monotonic() * 1000


class Load:
    """Calls of the warm function, for so many seconds: [(when it was due, how long it took)], in ms."""

    def __init__(self, daemon, seconds):
        self.process = subprocess.Popen(
            [PROGRAMS / "bench_steady", str(daemon.port), "/f/calm", str(RATE), str(int(seconds)),
             "elsewhere"], stdout=subprocess.PIPE, text=True)
        self.text = ""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        self.text = self.process.communicate()[0]

    def calls(self, until):
        self.reader.join()
        if self.process.returncode != 0:
            raise RuntimeError("a call of the warm function failed")
        calls = [tuple(map(float, line.split())) for line in self.text.splitlines()]
        if calls[-1][0] < until:
            raise RuntimeError("the misdeeds took longer than the load beside them")
        return calls


def measured(daemon):
    """For each group the calls of the warm function that were due in each misdeed, in ms."""
    each = QUIET + BOMBED + (len(MISDEEDS) - 1) * SPAN + (len(MISDEEDS) + 1) * (SETTLED + 0.3)
    load = Load(daemon, ROUNDS * each)
    rounds = []
    for _ in range(ROUNDS):
        time.sleep(SETTLED)
        spans = {"quiet": [idle(QUIET)]}
        for does in MISDEEDS:
            began, ended, lives = misdo(daemon, does, BOMBED)
            spans[does] = [(began, ended)]
            if does == "bomb":
                spans["alive"] = lives
            time.sleep(SETTLED)
        rounds.append(spans)
    calls = load.calls(rounds[-1]["bomb"][-1][1])
    took = lambda spans: [ms for due, ms in calls if any(a <= due < b for a, b in spans)]
    return [{does: took([span for spans in rounds[first::GROUPS] for span in spans[does]])
             for does in rounds[0]} for first in range(GROUPS)], rounds


def idle(seconds):
    began = now_ms()
    time.sleep(seconds)
    return began, now_ms()


def traced(daemon, group):
    """Rows of a table: how many of a thousand calls were slow, and who kept them waiting."""
    rows = []
    for does in ("quiet", *MISDEEDS):
        causes, count = collections.Counter(), 0
        for _ in range(TRACED):
            load = Load(daemon, SPAN + 2.5)
            time.sleep(SETTLED)
            with waits.Trace() as trace:
                begin, end = idle(SPAN) if does == "quiet" else misdo(daemon, does)[:2]
            whose = {daemon.process.pid: "the platform", load.process.pid: "the client",
                     **{pid: "the function" for pid in processes() if group_of(pid) == group}}
            found = trace.waits(whose)
            calls = [call for call in load.calls(end) if begin <= call[0] < end]
            count += len(calls)
            causes.update(named(waits.cause(call, found), daemon, whose)
                          for call in calls if call[1] > SLOW)
        rows.append([label(does), f"{1000 * causes.total() / count:.1f}",
                     *(f"{1000 * causes[name] / count:.1f}" for name in CAUSES)])
    return rows


def group_of(pid):
    """What a template and its forks have in common."""
    try:
        groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return re.findall(r"(?::memory:|^0::)(/[^/\n]+/[^/\n]+)", groups, re.M)[:1]


def named(cause, daemon, whose):
    if cause is None:
        return "nobody waited"
    pid, comm = cause[1]
    if pid in whose or pid in threads(daemon.process.pid) or comm.startswith("runc"):
        return "behind dormouse itself"
    return "behind it" if comm.startswith("python3") else "behind the kernel or others"


def label(does):
    if does == "alive":
        return "of these, while a bomb lived"
    return f"beside {MISDEEDS[does]}" if does in MISDEEDS else does


def run(watch):
    section = Section("apart", "A warm function beside one that does its worst (S3, S6)")
    with Daemon(watch) as daemon:
        code = daemon.dir / "app.py"
        calm = "def handler(event, context): return event"
        names = [f"bomb-{i}" for i in range(ROUNDS + TRACED)]
        for name in ("calm", "bad", *names):
            code.write_text(calm if name == "calm" else CODE)
            daemon.deploy(name, "python", [(code, "app.py")], handler="app.handler",
                          memory="96MiB", keep_alive="10m", timeout="15s")
        daemon.bombs = iter(names)
        connection = Connection(daemon.port, "calm", "null")
        for _ in range(1000):
            connection.call()
        used = processes()
        group = group_of(max(forks(daemon), key=lambda pid: used[pid][1]))
        groups, rounds = measured(daemon)
        slow = traced(daemon, group) if waits.TRACING else []
        watch.look()
        walls = proof(forks(daemon)[0])
    p99 = {does: [percentile(group[does], 0.99) for group in groups] for does in groups[0]}
    over = lambda does, what: [a / b for a, b in zip(p99[does], p99[what])]
    for does, name, bar in (("bomb", "S3: p99 while fork bombs are called", 1.5),
                            ("alive", "S3: p99 while a fork bomb lives", 1.5),
                            ("flood", "S6: p99 beside a flood of output", 1.2)):
        section.add(f"{name} / quiet", f"≤ {bar}×", over(does, "quiet"), bar)
        section.add(f"{name} / beside a process that gives way", f"≤ {bar}×", over(does, "outside"), bar)
    lives = [end - begin for spans in rounds for begin, end in spans["alive"]]
    section.note(f"{RATE} calls a second of a warm function leave by a timetable, and count from when "
                 f"they were due. In each of {ROUNDS} rounds it is quiet for {QUIET} s, and then "
                 f"something uses up to one processor of two for {SPAN} s, one after another: a process "
                 "outside of dormouse in the scheduler's idle class, which everything else displaces; "
                 "and a function that does its worst. What the first costs a sibling is the machine's "
                 "own price of a busy processor, which no sandbox can better. A fork bomb is ended by "
                 f"the platform, and its function is then held back: for {BOMBED} s a client calls one, "
                 "another in each round, as soon as it may again. "
                 f"So there were {len(lives)} bombs, which lived for {spread(lives, 0)} ms. Medians "
                 f"(quartiles) of {GROUPS} groups of rounds, ms. Platform and functions are not pinned; "
                 "the client does not wait for a processor, as one elsewhere would not.")
    rows = [[label(does), *(spread([percentile(group[does], share) for group in groups], 2)
                            for share in SHARES)] for does in groups[0]]
    section.table(["", "p50", "p90", "p99"], rows)
    section.note(f"Who kept the slow ones waiting, by the kernel's scheduler trace of {TRACED} more rounds: "
                 f"of a thousand calls those that took over {SLOW} ms, by who had the processor for most of "
                 f"what platform, function or client waited for it. Where nobody waited {waits.LEAST_MS} ms "
                 "all of them ran or slept, and the processor itself stood still or was slow.")
    section.table(["", "slow", *CAUSES], slow)
    section.note(f"One of the instances: {walls}.")
    return section
