"""A function that calls a function: what that adds to the callee's own time."""
import json

from rig.daemon import Daemon
from rig.ratios import Section, spread

ROUNDS, CALLS = 9, 1500

CODE = """
import statistics, time
import dormouse
def handler(event, context):
    took = []
    for _ in range(event["calls"]):
        began = time.perf_counter()
        dormouse.invoke("echo", b"x" * 100)
        took.append((time.perf_counter() - began) * 1e6)
    return {"mean": statistics.fmean(took), "p50": statistics.median(took), "p90": statistics.quantiles(took, n=10)[8]}
"""


def mean_of_runs(daemon, since):
    """The callee's: from when a call is given to its instance until its answer is there, in µs."""
    text = daemon.ask("GET", "/metrics")[1].decode()
    sums = {}
    for line in text.splitlines():
        for what in ("sum", "count"):
            if line.startswith("dormouse_run_seconds_" + what) and 'function="echo"' in line:
                sums[what] = float(line.rsplit(" ", 1)[1])
    ran, count = sums["sum"] - since[0], sums["count"] - since[1]
    return (sums["sum"], sums["count"]), ran / count * 1e6 if count else 0.0


def run(watch):
    section = Section("calls", "A function that calls a function")
    mean, p50, p90, callee = [], [], [], []
    with Daemon(watch) as daemon:
        code = daemon.dir / "app.py"
        code.write_text(CODE)
        daemon.deploy("echo", "echo", keep_alive="10m", memory="64MiB", max_instances=1)
        daemon.deploy("caller", "python", [(code, "app.py")], handler="app.handler", keep_alive="10m", timeout="5m")
        body = json.dumps({"calls": CALLS})
        daemon.ask("POST", "/f/caller", body)
        since, _ = mean_of_runs(daemon, (0.0, 0.0))
        for _ in range(ROUNDS):
            said = json.loads(daemon.ask("POST", "/f/caller", body)[1])
            since, ran = mean_of_runs(daemon, since)
            mean.append(said["mean"])
            p50.append(said["p50"])
            p90.append(said["p90"])
            callee.append(ran)
            watch.look()
    section.add("a call less the callee's own run, means", "≤ 60 µs",
                [a - b for a, b in zip(mean, callee)], 60.0, unit=" µs")
    section.note(f"{ROUNDS} rounds of {CALLS} calls, one after another, from Python to a function that does nothing. The "
                 "callee's run is the mean that the platform counts. Nothing is pinned. Medians (quartiles), µs.")
    section.table(["", "µs"], [["a call, mean", spread(mean)], ["a call, p50", spread(p50)], ["a call, p90", spread(p90)], ["the callee's run, mean", spread(callee)]])
    return section
