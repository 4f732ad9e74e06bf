"""The machine: its facts, its own floors, and whether it was quiet while something was measured."""
import datetime
import json
import mmap
import os
import pathlib
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DORMOUSE_BUILD", REPOSITORY / "build/release"))
PROGRAMS = BUILD / "bench"
MODELS = pathlib.Path(os.environ.get("DORMOUSE_BENCH_MODELS", REPOSITORY / "build/bench/models"))

# The one core that servers share when they are pinned, and the other one, of the load generator.
# Interrupts go to core 0 first.
SERVER_CORE, CLIENT_CORE = 1, 0
BUSY_SHARE = 0.10  # Of one core, by a process that is not the benchmark's.


def facts():
    """When, of what and where something is measured now."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    value = lambda name: next((l.split(":", 1)[1].strip() for l in lines if l.startswith(name)), "?")
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "cpu": f"{value('model name')}, family {value('cpu family')} model {value('model')}",
        "cores": os.cpu_count(),
        "memory": f"{int(memory) >> 20} GiB",
        "kernel": os.uname().release.split("-")[0],
    }


def commit():
    """"850434c", or "850434c+" where something but results was changed since; None if it is unknown."""
    git = ["git", "--no-optional-locks", "-C", REPOSITORY]
    try:
        changed = output([*git, "status", "--porcelain", ".", ":!bench/results", ":!bench/RESULTS.md"])
        return output([*git, "rev-parse", "--short", "HEAD"]).strip() + ("+" if changed else "")
    except (OSError, RuntimeError):
        return None  # Not a checkout, or somebody else's.


def floors():
    """Round trips of a byte between two processes, in microseconds: one core, and across two."""
    return json.loads(output([PROGRAMS / "bench_floors", "wake"]))


def output(command, core=None, given=None):
    words = ["taskset", "-c", str(core)] if core is not None else []
    done = subprocess.run([*words, *map(str, command)], capture_output=True, text=True, input=given)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def populate(path):
    """MAP_POPULATE of a file in microseconds, all of it in the page cache; refuses if it is not."""
    for _ in range(3):  # What was not used for a while may leave while the rest comes.
        output(["dd", f"if={path}", "of=/dev/null", "bs=4M"])
        found = json.loads(output([PROGRAMS / "bench_floors", "populate", path]))
        if found["resident"] == 1:
            return found["populate"]
    raise RuntimeError(f"only {found['resident']:.4%} of {path} is in the page cache (mincore)")


def evict(path):
    """None of a file stays in the page cache; refuses if some does, as what somebody has mapped."""
    os.sync()
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    found = json.loads(output([PROGRAMS / "bench_floors", "resident", path]))
    if found["resident"] > 0:
        raise RuntimeError(f"{found['resident']:.4%} of {path} stay in the page cache (mincore)")


def have_memory(mib):
    """Takes so much in huge pages and gives it back: microseconds for each page.

    The host of a virtual machine may take back what is free there for some seconds; who touches it
    next waits until the host gives it again. A measurement that begins afterwards does not.
    """
    page = 2 << 20
    with mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        began = time.monotonic()
        for at in range(0, len(memory), page):
            memory[at] = 1
        return (time.monotonic() - began) * 1e6 / (len(memory) // page)


def threads(pid):
    try:
        return [int(each) for each in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return []


def place(pids, cores):
    """Moves running processes to these cores, each of their threads."""
    for pid in pids:
        for thread in threads(pid):
            try:
                os.sched_setaffinity(thread, cores)
            except ProcessLookupError:
                pass


def processes():
    """pid → (parent, seconds of CPU, name), of all there are."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, rest = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        found[int(entry)] = (int(rest[1]), (int(rest[11]) + int(rest[12])) / tick, name)
    return found


def in_group(pid, mark):
    try:
        return f"/{mark}/" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


class Watch:
    """Notes which processes, not ours, used more than BUSY_SHARE of a core. look() between rounds."""

    def __init__(self):
        self.marks = set()  # Of platforms, whose workers are not our descendants.
        self.busy = {}
        self.seen = processes()
        self.at = os.times().elapsed

    def look(self):
        now, at = processes(), os.times().elapsed
        span = at - self.at
        if span > 0.2:
            for pid, (_, used, name) in now.items():
                share = (used - self.seen.get(pid, (0, 0, ""))[1]) / span
                if share > BUSY_SHARE and not self.ours(pid, now):
                    self.busy[name] = max(self.busy.get(name, 0), min(share, os.cpu_count()))
            self.seen, self.at = now, at

    def ours(self, pid, now):
        if "kthreadd" in (now[pid][2], now.get(now[pid][0], (0, 0, ""))[2]):
            return True  # It works for processes, and they are seen themselves.
        if any(in_group(pid, mark) for mark in self.marks):
            return True
        while pid > 1 and pid in now:
            if pid == os.getpid():
                return True
            pid = now[pid][0]
        return False
