"""A daemon that does nothing, with 1,000 functions asleep."""
import pathlib
import shutil
import tempfile
import time

from rig.daemon import Daemon
from rig.machine import PROGRAMS, output, threads
from rig.ratios import Section

FUNCTIONS, STARTS, SECONDS = 1000, 7, 60


def switches(pid):
    total = 0
    for thread in threads(pid):
        status = pathlib.Path(f"/proc/{pid}/task/{thread}/status").read_text()
        total += int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return total


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def run(watch):
    section = Section("idle", f"Idle, with {FUNCTIONS:,} functions asleep")
    data = pathlib.Path(tempfile.mkdtemp(prefix="dormouse-bench-idle-"))
    output([PROGRAMS / "bench_fill", data, FUNCTIONS])
    started = []
    for _ in range(STARTS - 1):
        with Daemon(watch, onnx_blanks=1, data=data) as daemon:
            started.append(daemon.started_in)
        watch.look()
    with Daemon(watch, onnx_blanks=1, data=data) as daemon:
        started.append(daemon.started_in)
        known = len(daemon.json("/api/v1/functions")["functions"])
        daemon.connection.close()
        time.sleep(5)
        before = switches(daemon.process.pid)
        time.sleep(SECONDS)
        a_second = (switches(daemon.process.pid) - before) / SECONDS
        memory = resident(daemon.process.pid)
        watch.look()
    shutil.rmtree(data)
    if known != FUNCTIONS:
        raise RuntimeError(f"{known} functions are listed")
    section.add("start, to listening", "≤ 1 s", started, 1, unit=" s")
    section.add("resident memory of the daemon", "≤ 60 MB", [memory * 1.048576], 60, unit=" MB")
    section.add(f"voluntary context switches a second, all threads, over {SECONDS} s", "≤ 1",
                [a_second], 1, unit="")
    section.note("The catalog was filled by bench_fill, through src/catalog: the functions were never "
                 "started. A blank sandbox of each runtime waits meanwhile.")
    return section
