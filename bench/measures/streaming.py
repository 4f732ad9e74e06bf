"""What a streamed token takes from the model's worker to a client."""
import bisect
import re
import subprocess
import tempfile
import time

from rig.daemon import Daemon
from rig.instances import forks
from rig.language import THREADS, deploy, make_models
from rig.machine import PROGRAMS, output, processes
from rig.ratios import Section, percentile, spread

KINDS = ("q8_0", "q4_0", "q4_k_m")
STREAMS, TOKENS = 9, 64


class Sent:
    """When a process sends something, by the kernel's own clock: seconds since the machine started."""

    def __init__(self, pid):
        self.file = tempfile.NamedTemporaryFile(prefix="dormouse-bench-")
        self.perf = subprocess.Popen(
            ["perf", "record", "-q", "-k", "CLOCK_MONOTONIC", "-e", "syscalls:sys_enter_sendmsg", "-p", str(pid),
             "-o", self.file.name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(0.5)  # Until it listens.
        if self.perf.poll() is not None:
            raise RuntimeError(f"perf ended with status {self.perf.returncode}: {self.perf.stderr.read().decode()}")

    def times(self):
        self.perf.terminate()
        self.perf.wait()
        lines = output(["perf", "script", "-i", self.file.name, "--ns", "-F", "time"])
        return sorted(float(each) for each in re.findall(r"([\d.]+):", lines))


def stream(end):
    """When events of a stream were here."""
    body = end.body(16, max_tokens=TOKENS, stream=True)
    request = (f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    return [float(line) for line in output([PROGRAMS / "bench_arrivals", end.port], given=request).split()]


def added(sent, here):
    """Microseconds from each sending to the first event that was here after it, and before the next one;
    but for the first event, which ends another wait."""
    arrivals, times = sorted(here[1:]), sorted(sent)
    found = []
    for began, next_began in zip(times, [*times[1:], float("inf")]):
        at = bisect.bisect_right(arrivals, began)
        if at < len(arrivals) and arrivals[at] < next_began:
            found.append((arrivals[at] - began) * 1e6)
    return found


def announced(sent, here):
    """The same from the sending before each: the worker announces a token as soon as the step that it
    comes of is computed, and sends it when it is chosen."""
    arrivals, times = sorted(here[1:]), sorted(sent)
    found = []
    for announcing, sending, after in zip(times, times[1:], [*times[2:], float("inf")]):
        at = bisect.bisect_right(arrivals, sending)
        if at < len(arrivals) and arrivals[at] < after:
            found.append((arrivals[at] - announcing) * 1e6)
    return found


def run(watch):
    section = Section("streaming", "Streamed tokens")
    make_models()
    rows = []
    for kind in KINDS:
        with Daemon(watch) as daemon:
            # One that stays: without a call for 2 s it would go, and with it who is listened to.
            ours = deploy(daemon, kind, min_instances=1)
            stream(ours)
            middles, wholes, relayed = [], [], []
            for _ in range(STREAMS):
                worker = busiest(forks(daemon))
                sent = Sent(worker)
                here = stream(ours)
                times = sent.times()
                took = added(times, here)
                if len(took) < TOKENS * 3 // 4:  # A few tokens are but part of a character.
                    raise RuntimeError(f"only {len(took)} of {TOKENS} tokens were seen to be sent")
                middles.append(percentile(took, 0.5))
                wholes.append(percentile(announced(times, here), 0.5))
                relayed.append(float(output([PROGRAMS / "bench_relay"])))
                watch.look()
        section.add(f"{kind}: from the worker's sending a token to a client's having it, p50", "≤ 150 µs", middles, 150, unit="µs")
        rows.append([kind, spread(middles), spread(wholes), spread(relayed)])
    section.note(f"{STREAMS} streams of {TOKENS} tokens, one at a time, while the model computes on {THREADS} threads. When "
                 "the worker sends, the kernel says (perf, the system call); when an event is there, a client in C, as its recv() "
                 "returns. Before it chooses a token, the worker announces it, which wakes the daemon (docs/decisions/026): from there on "
                 "is from the end of the model's step, with the announcement, the choice and the writing of the event. A bare relay: what a message of 250 bytes takes over a Unix socket, a program that only passes it on, "
                 "and TCP, where two threads have read 128 MiB each until it was sent. Medians (quartiles), µs.")
    section.table(["model", "from the token's sending", "from its announcement", "a bare relay"], rows)
    return section


def busiest(pids):
    """The one that answers, and not the fork that waits."""
    found = processes()
    return max(pids, key=lambda pid: found[pid][1])
