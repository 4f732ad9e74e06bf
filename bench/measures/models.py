"""Metric 7: how soon a large model is ready, and how fast it is then."""
import io
import json
import shutil
import time

import numpy

from rig.daemon import Daemon
from rig.machine import MODELS, PROGRAMS, REPOSITORY, output, populate
from rig.ratios import Section, spread

ROUNDS, PAIRS, RUNS = 7, 9, 7
WAKE = ("sandbox_ms", "code_ms", "load_ms")
SETTLED = 0.5  # Seconds from asleep until another fork waits, rehearsed.
# Three functions of each model: one that keeps its template, one that keeps only what was saved of
# it, and one that keeps its files alone.
SUFFIX = {"template": "", "snapshot": "-from-snapshot", "blank": "-from-file"}
FROM = {"template": "its template", "snapshot": "its snapshot", "blank": "its file"}
RUNTIME = {"template": "onnx", "snapshot": "onnx", "blank": "onnx_loaded"}
KEEPS = {"template": {"keep_alive": "0ms", "template_keep_alive": "1h"},
         "snapshot": {"keep_alive": "0ms", "template_keep_alive": "0ms"},
         "blank": {"keep_alive": "0ms", "template_keep_alive": "0ms"}}


class Model:
    def __init__(self, name, shape, kind):
        self.name, self.path = name, MODELS / f"{name}.onnx"
        output(["/usr/bin/python3", REPOSITORY / "bench/models/generate.py", MODELS, name])
        array = io.BytesIO()
        numpy.save(array, numpy.full(shape, 0.5 if kind == "float32" else 1, kind))
        self.body, self.forms, self.saved = array.getvalue(), {}, {}

    def deploy(self, daemon, name=None, runtime="onnx", **fields):
        name = name or self.name
        daemon.deploy(name, runtime, [(self.path, "model.onnx")], model="model.onnx",
                      **{"memory": "2GiB", **fields})
        revision = daemon.function(name)["revision"]
        self.notes = revision["notes"]
        self.form = self.notes.get("form", "original")
        self.digest = next(each["digest"] for each in revision["files"]
                           if each["path"] == "model.onnx")
        self.tree = daemon.tree(name)
        # A packed form's file has all weights twice; what is to be reached is of the model's bytes.
        is_mapped = self.form == "mapped"
        self.weights = self.tree / (".dormouse/optimised.weights" if is_mapped else "model.onnx")
        # The worker alone gets files with one name only; blobs have two.
        self.alone = daemon.dir / f"alone-{self.name}"
        shutil.rmtree(self.alone, ignore_errors=True)
        shutil.copytree(self.tree, self.alone)

    def worker(self, what, form, *more):
        return json.loads(output([PROGRAMS / "bench_models", what, self.alone, self.digest, form,
                                  *more]))

    def ready(self, daemon, rung):
        """A cold call: what passed before the model ran, in ms, and the receipt."""
        name = self.name + SUFFIX[rung]
        daemon.wait_until_cold(name, RUNTIME[rung])
        time.sleep(SETTLED)
        took, receipt = daemon.call(name, self.body, "application/x-npy")
        is_saved = self.saved.get(rung, False)  # The smallest loads as soon as it would be woken.
        if receipt["rung"] != rung and (is_saved or rung != "snapshot"):
            raise RuntimeError(f"{name} was woken from {receipt['rung']}, not {rung}")
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
        self.populate, self.default = [], []
        self.ready, self.tiny, self.outside = ({rung: [] for rung in SUFFIX} for _ in range(3))
        self.phases = {rung: {phase: [] for phase in (*WAKE, "run_ms")} for rung in SUFFIX}
        self.worker = {part: [] for part in ("hello", "load", "library", "environment", "session")}

    def measure(self, daemon, tiny):
        self.populate.append(populate(self.model.weights) / 1000)
        for rung in SUFFIX:
            self.tiny[rung].append(tiny.ready(daemon, rung)[0])
            ready, receipt = self.model.ready(daemon, rung)
            self.ready[rung].append(ready)
            phases = {**receipt["wake"], "run_ms": receipt["run_ms"]}
            for phase, values in self.phases[rung].items():
                values.append(phases[phase])
            self.outside[rung].append(ready - sum(receipt["wake"].values()))
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
            for rung, suffix in SUFFIX.items():
                model.deploy(daemon, model.name + suffix, RUNTIME[rung], **KEEPS[rung])
                model.forms[rung] = model.form  # Each deploy decides anew; the last is of the file.
                model.saved[rung] = "awake in" in model.notes.get("snapshot", "")
                # Lays out, makes the template, and brings the files into the page cache.
                daemon.call(model.name + suffix, model.body, "application/x-npy")
            for file in (model.tree / "model.onnx", *(model.tree / ".dormouse").glob("*")):
                file.read_bytes()
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
        for rung in ("template", "snapshot"):
            bound = (3 * b + c for b, c in zip(of.populate, of.tiny["blank"]))
            section.add(f"{name}: ready from {FROM[rung]} / (3 × MAP_POPULATE + a start with the tiny "
                        "model)", "≤ 1×", [a / b for a, b in zip(of.ready[rung], bound)], 1)
        if of.model.form == "mapped":
            section.add(f"{name}: ONNX Runtime's default session / ready from its file", "≥ 10×",
                        [a / b for a, b in zip(of.default, of.ready["blank"])], 10, at_least=True)
        section.add(f"{name}: warm p50 ({of.model.form}) / a default session's", "≤ 1.05×",
                    [a / b for a, b in warm[name]], 1.05)
    section.note("Ready is everything of a cold call over HTTP but the run itself: the receipt's wake "
                 "phases and what is outside of them. From its template: what a sleeping function "
                 "has for its template_keep_alive, 10 minutes unless told otherwise, which is one "
                 "copy of the model in memory. From its snapshot: after that, or after a restart; a "
                 "blank worker becomes the template that was saved at the deploy, and an instance is "
                 "forked of it. From its file: where there is no snapshot, or a new kernel or release "
                 "made it useless; the session is made, and an instance forked of it: no bar, as "
                 "functions are not woken from there any more. The tiny model starts from its file. "
                 "All weights are in the page cache, "
                 f"by mincore. Medians (quartiles) of {ROUNDS} rounds, ms.")
    section.note()
    section.note("Ready leaves the first run out. A mapped form pays for its pages there, if the fork "
                 "had no time to rehearse: compare \"first run\" with the warm median below. Only "
                 "forms that were chosen as mapped at this deploy are held against the default "
                 "session's loading.")
    section.table(["model", "form", "from", "ready", "sandbox", "code", "load", "outside",
                   "MAP_POPULATE", "ready, tiny", "default session", "first run"],
                  [[name, of.model.forms[rung], FROM[rung].split()[1],
                    spread(of.ready[rung]), *(spread(of.phases[rung][phase]) for phase in WAKE),
                    spread(of.outside[rung]), spread(of.populate), spread(of.tiny[rung]),
                    spread(of.default), spread(of.phases[rung]["run_ms"])]
                   for name, of in loads.items() for rung in SUFFIX])
    section.note("The same worker without sandbox and daemon, ms: fork and exec to its hello, of that "
                 "ONNX Runtime's library and environment, which a blank sandbox has paid for; then "
                 "what loading takes, of that the session.")
    section.table(["model", "exec to hello", "library", "environment", "load", "session"],
                  [[name, *(spread(of.worker[part]) for part in of.worker if part != "load"
                            and part != "session"), spread(of.worker["load"]),
                    spread(of.worker["session"])] for name, of in loads.items()])
    section.note(f"Warm: {PAIRS} pairs of medians of {RUNS} runs that take turns between two workers, one with "
                 "the form chosen at deploy, one with a default session, both new for each pair, ms.")
    section.table(["model", "chosen", "default"],
                  [[name, spread([a / 1000 for a, _ in pairs], 2),
                    spread([b / 1000 for _, b in pairs], 2)] for name, pairs in warm.items()])
