"""A function that calls a function: what that adds to the callee's own time."""
import json

from rig.daemon import Daemon
from rig.ratios import Section, spread

ROUNDS, CALLS = 9, 1500

PYTHON = """
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
NODE = """
const body = Buffer.alloc(100, "x");
export async function handler(event) {
  const took = [];
  for (let i = 0; i < event.calls; ++i) {
    const began = process.hrtime.bigint();
    await dormouse.invoke("echo", body);
    took.push(Number(process.hrtime.bigint() - began) / 1e3);
  }
  took.sort((a, b) => a - b);
  const at = (share) => took[Math.floor(took.length * share)];
  return { mean: took.reduce((a, b) => a + b) / took.length, p50: at(0.5), p90: at(0.9) };
}
"""
CALLERS = {"Python": ("python", "app.py", PYTHON), "Node": ("node", "app.mjs", NODE)}


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


class Caller:
    """A function in one language, and what its calls took."""

    def __init__(self, daemon, language):
        runtime, file, text = CALLERS[language]
        self.daemon, self.language, self.function = daemon, language, f"caller-{runtime}"
        code = daemon.dir / file
        code.write_text(text)
        daemon.deploy(self.function, runtime, [(code, file)], handler="app.handler", keep_alive="10m", timeout="5m")
        self.took = {"mean": [], "p50": [], "p90": []}
        self.callee = []
        self.call((0.0, 0.0))  # The first is not counted.
        self.took, self.callee = {each: [] for each in self.took}, []

    def call(self, since):
        said = json.loads(self.daemon.ask("POST", f"/f/{self.function}", json.dumps({"calls": CALLS}))[1])
        since, ran = mean_of_runs(self.daemon, since)
        for each, values in self.took.items():
            values.append(said[each])
        self.callee.append(ran)
        return since

    def added(self):
        return [a - b for a, b in zip(self.took["mean"], self.callee)]

    def rows(self):
        said = [(f"a call, {each}", values) for each, values in self.took.items()]
        return [[self.language, what, spread(values)] for what, values in [*said, ("the callee's run, mean", self.callee)]]


def run(watch):
    section = Section("calls", "A function that calls a function")
    with Daemon(watch) as daemon:
        daemon.deploy("echo", "echo", keep_alive="10m", memory="64MiB", max_instances=1)
        callers = [Caller(daemon, language) for language in CALLERS]
        since, _ = mean_of_runs(daemon, (0.0, 0.0))
        for _ in range(ROUNDS):
            for caller in callers:
                since = caller.call(since)
            watch.look()
    for caller in callers:
        section.add(f"{caller.language}: a call less the callee's own run, means", "≤ 60 µs", caller.added(), 60.0,
                    unit=" µs")
    section.note(f"{ROUNDS} rounds of {CALLS} calls, one after another, to a function that does nothing. The callee's run "
                 "is the mean that the platform counts. Nothing is pinned. Medians (quartiles), µs.")
    section.table(["from", "", "µs"], [row for caller in callers for row in caller.rows()])
    return section
