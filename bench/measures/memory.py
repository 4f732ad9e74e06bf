"""What each further instance of one model costs."""
import pathlib

from measures.models import Model
from rig.daemon import Daemon, eventually
from rig.peers import load
from rig.ratios import Section

INSTANCES = 16
BESIDE = 2  # The template, and a fork of it that waits for a call.


def pss(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    value = lambda name: int(rollup.split(f"\n{name}:")[1].split()[0]) * 1024
    return value("Pss"), value("Pss_Anon")


def run(watch):
    section = Section("memory", f"{INSTANCES} instances of one 100 MB model")
    model = Model("mlp100", [1, 2048], "float32")
    sums, anonymous = {}, {}
    with Daemon(watch, echo_blanks=0) as daemon:
        for count in (1, INSTANCES):
            model.deploy(daemon, memory="512MiB", keep_alive="10m", min_instances=count,
                         max_instances=count)
            ready = lambda: daemon.function("mlp100")["summary"]["instances"]["dozing"] == count
            eventually(f"{count} instances", ready)
            body = daemon.dir / "body.npy"
            body.write_bytes(model.body)
            load(daemon.port, "/f/mlp100", "0,1", connections=count, requests=count * 8,
                 body=body, type="application/x-npy")
            eventually("only they", lambda: len(daemon.workers()) == count + BESIDE and ready())
            each = [pss(pid) for pid in daemon.workers()]
            sums[count] = sum(total for total, _ in each)
            anonymous[count] = max(anon for _, anon in each)
            watch.look()
        form = daemon.function("mlp100")["revision"]["notes"].get("form", "?")
    further = (sums[INSTANCES] - sums[1]) / (INSTANCES - 1) / 1e6
    limit = 12 + model.path.stat().st_size * 0.01 / 1e6
    section.add("PSS of each further instance", f"≤ {limit:.1f} MB", [further], limit, unit=" MB")
    section.note(f"Form: {form}. PSS of all workers, the template and the fork that waits among "
                 "them, each instance after some calls: one instance "
                 f"{sums[1] / 1e6:.1f} MB, {INSTANCES} instances {sums[INSTANCES] / 1e6:.1f} MB; "
                 f"anonymous memory of the largest {anonymous[INSTANCES] / 1e6:.1f} MB.")
    return section
