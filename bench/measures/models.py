"""Metric 7: how soon a large model is ready, and how fast it is then."""
import io
import json
import shutil

import numpy

from rig.daemon import Daemon
from rig.machine import MODELS, PROGRAMS, REPOSITORY, output, populate
from rig.ratios import Section, spread

ROUNDS, PAIRS, RUNS = 7, 9, 7
WAKE = ("sandbox_ms", "code_ms", "load_ms")


class Model:
    def __init__(self, name, shape, kind):
        self.name, self.path = name, MODELS / f"{name}.onnx"
        output(["/usr/bin/python3", REPOSITORY / "bench/models/generate.py", MODELS, name])
        array = io.BytesIO()
        numpy.save(array, numpy.full(shape, 0.5 if kind == "float32" else 1, kind))
        self.body = array.getvalue()

    def deploy(self, daemon, **fields):
        daemon.deploy(self.name, "onnx", [(self.path, "model.onnx")], model="model.onnx",
                      **{"memory": "2GiB", **fields})
        revision = daemon.function(self.name)["revision"]
        self.notes = revision["notes"]
        self.form = self.notes.get("form", "original")
        self.digest = next(each["digest"] for each in revision["files"]
                           if each["path"] == "model.onnx")
        self.tree = daemon.tree(self.name)
        weights = self.tree / ".dormouse/optimised.weights"
        self.weights = weights if weights.exists() else self.tree / "model.onnx"
        # The worker alone gets files with one name only; blobs have two.
        self.alone = daemon.dir / f"alone-{self.name}"
        shutil.rmtree(self.alone, ignore_errors=True)
        shutil.copytree(self.tree, self.alone)

    def worker(self, what, form, *more):
        return json.loads(output([PROGRAMS / "bench_models", what, self.alone, self.digest, form,
                                  *more]))

    def ready(self, daemon):
        """A cold call: what passed before the model ran, in ms, and the receipt."""
        daemon.wait_until_cold(self.name, "onnx")
        took, receipt = daemon.call(self.name, self.body, "application/x-npy")
        if receipt["rung"] != "blank":
            raise RuntimeError(f"{self.name} was not woken from a blank sandbox: {receipt['rung']}")
        return took - receipt["run_ms"], receipt


def all_models():
    return [Model("mlp", [1, 2048], "float32"), Model("conv", [1, 3, 7, 7], "float32"),
            Model("int8", [1, 4096], "float32"), Model("transformer", [1, 64], "int64")]


def parse_ms(text):
    return float(text.split()[0])


class Loads:
    """What was measured of one model, in ms, a value a round."""

    def __init__(self, model):
        self.model = model
        self.ready, self.outside, self.populate, self.tiny, self.default = [], [], [], [], []
        self.phases = {phase: [] for phase in (*WAKE, "run_ms")}
        self.worker = {part: [] for part in ("hello", "load", "library", "environment", "session")}

    def measure(self, daemon, tiny):
        self.tiny.append(tiny.ready(daemon)[0])
        self.populate.append(populate(self.model.weights) / 1000)
        ready, receipt = self.model.ready(daemon)
        self.ready.append(ready)
        phases = {**receipt["wake"], "run_ms": receipt["run_ms"]}
        for phase, values in self.phases.items():
            values.append(phases[phase])
        self.outside.append(ready - sum(receipt["wake"].values()))
        self.default.append(self.model.worker("load", "original")["load"] / 1000)
        said = self.model.worker("load", self.model.form)
        for part in ("hello", "load"):
            self.worker[part].append(said[part] / 1000)
        for part in ("library", "environment", "session"):
            self.worker[part].append(parse_ms(said[part]))


def run(watch):
    section = Section("models", "Large models, warm page cache (metric 7)")
    tiny, models = Model("tiny", [1, 12], "float32"), all_models()
    loads, warm = {model.name: Loads(model) for model in models}, {}
    with Daemon(watch, echo_blanks=0, onnx_blanks=1) as daemon:
        for model in (tiny, *models):
            model.deploy(daemon, keep_alive="100ms")
        for model in (tiny, *models):  # Lays out, and brings the files into the page cache.
            daemon.call(model.name, model.body, "application/x-npy")
            model.weights.read_bytes()
        for _ in range(ROUNDS):
            for each in loads.values():
                each.measure(daemon, tiny)
            watch.look()
        for model in models:
            warm[model.name] = model.worker("run", model.form, PAIRS, RUNS)
            watch.look()
    report(section, loads, warm)
    return section


def report(section, loads, warm):
    for name, of in loads.items():
        section.add(f"{name}: ready / (3 × MAP_POPULATE + a start with the tiny model)", "≤ 1×",
                    [a / (3 * b + c) for a, b, c in zip(of.ready, of.populate, of.tiny)], 1)
        if of.model.form == "mapped":
            section.add(f"{name}: ONNX Runtime's default session / ready", "≥ 10×",
                        [a / b for a, b in zip(of.default, of.ready)], 10, at_least=True)
        section.add(f"{name}: warm p50 ({of.model.form}) / a default session's", "≤ 1.05×",
                    [a / b for a, b in warm[name]], 1.05)
    section.note("Ready is everything of a cold call over HTTP but the run itself: the receipt's wake "
                 "phases and what is outside of them. A blank sandbox waits, as the platform keeps "
                 "one. All weights are in the page cache, by mincore. Medians (quartiles) of "
                 f"{ROUNDS} rounds, ms.")
    section.note()
    section.note("Ready leaves the first run out. A mapped form pays for its pages there: compare "
                 "\"first run\" with the warm median below. Only forms that were chosen as mapped at "
                 "this deploy are held against the default session's loading.")
    section.table(["model", "form", "ready", "sandbox", "code", "load", "outside", "MAP_POPULATE",
                   "ready, tiny", "default session", "first run"],
                  [[name, of.model.form, spread(of.ready),
                    *(spread(of.phases[phase]) for phase in WAKE), spread(of.outside),
                    spread(of.populate), spread(of.tiny), spread(of.default),
                    spread(of.phases["run_ms"])] for name, of in loads.items()])
    section.note("The same worker without sandbox and daemon, ms: fork and exec to its hello, of that "
                 "ONNX Runtime's library and environment, which a blank sandbox has paid for; then "
                 "what loading takes, of that the session.")
    section.table(["model", "exec to hello", "library", "environment", "load", "session"],
                  [[name, *(spread(of.worker[part]) for part in of.worker if part != "load"
                            and part != "session"), spread(of.worker["load"]),
                    spread(of.worker["session"])] for name, of in loads.items()])
    section.note(f"Warm: {PAIRS} pairs of medians of {RUNS} runs that take turns between two workers, "
                 "one with the form chosen at deploy, one with a default session, ms.")
    section.table(["model", "chosen", "default"],
                  [[name, spread([a / 1000 for a, _ in pairs], 2),
                    spread([b / 1000 for _, b in pairs], 2)] for name, pairs in warm.items()])
