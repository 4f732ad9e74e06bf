"""Who waited for a processor, and for whom, in calls that took long: the kernel's scheduler trace."""
import bisect
import collections
import pathlib
import re

TRACING = next((path for path in map(pathlib.Path, ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"))
                if (path / "trace_clock").exists()), None)
EVENTS = ("sched_wakeup", "sched_switch")
BUFFER_KIB = 32768  # Of each processor.
LEAST_MS = 0.5  # A wait that counts.

LINE = re.compile(r"^.{16}-\s*\d+\s+\[(\d+)\]\s+\S+\s+([\d.]+): (\w+): (.*)")
WOKEN = re.compile(r"comm=.+ pid=(\d+) ")
SWITCHED = re.compile(r"prev_comm=(.+) prev_pid=(\d+) prev_prio=\d+ prev_state=(\S+) ==> "
                      r"next_comm=.+ next_pid=(\d+) ")


def tell(file, text):
    (TRACING / file).write_text(text)


class Trace:
    """Of what is done within it. Times are milliseconds of the monotonic clock."""

    def __enter__(self):
        tell("tracing_on", "0")
        self.before = (re.search(r"\[(\w+)\]", (TRACING / "trace_clock").read_text())[1],
                       (TRACING / "buffer_size_kb").read_text().split()[0])
        tell("trace_clock", "mono")
        tell("buffer_size_kb", str(BUFFER_KIB))
        for event in EVENTS:
            tell(f"events/sched/{event}/enable", "1")
        tell("tracing_on", "1")
        return self

    def __exit__(self, *_):
        tell("tracing_on", "0")
        for event in EVENTS:
            tell(f"events/sched/{event}/enable", "0")
        self.lines = (TRACING / "trace").read_text(errors="replace").splitlines()
        for file, text in zip(("trace_clock", "buffer_size_kb"), self.before):
            tell(file, text)

    def waits(self, whose):
        """[(from, until, who of `whose` waited, who ran there for most of it)]; `whose`: pid → name."""
        ready, running, ran, waits = {}, {}, collections.defaultdict(list), []
        for line in self.lines:
            found = LINE.match(line)
            if not found:
                continue
            cpu, now, event, rest = found[1], float(found[2]) * 1000, found[3], found[4]
            if event == "sched_wakeup":
                ready.setdefault(int(WOKEN.match(rest)[1]), now)
                continue
            comm, before, state, after = SWITCHED.match(rest).groups()
            if cpu in running:
                ran[cpu].append((running[cpu], now, int(before), comm))
            running[cpu] = now
            if state.startswith("R"):
                ready[int(before)] = now
            since = ready.pop(int(after), now)
            if int(after) in whose and now - since >= LEAST_MS:
                waits.append((since, now, whose[int(after)], cpu))
        return [(since, until, who, most_of(ran[cpu], since, until)) for since, until, who, cpu in waits]


def most_of(ran, since, until):
    """(pid, name) of who ran longest between the two; `ran` is in order."""
    shares = collections.Counter()
    for begin, end, pid, comm in ran[max(0, bisect.bisect(ran, (since,)) - 1):]:
        if begin >= until:
            break
        shares[pid, comm] += min(end, until) - max(begin, since)
    return shares.most_common(1)[0][0] if shares else (0, "swapper")


def cause(call, waits):
    """(who waited longest, behind whom) in a call, (due, took), or None if nobody did for long."""
    due, took = call
    shares = collections.Counter()
    for since, until, who, behind in waits:
        shares[who, behind] += max(0, min(until, due + took) - max(since, due))
    (found, share), = shares.most_common(1) or [(None, 0)]
    return found if share >= LEAST_MS else None
