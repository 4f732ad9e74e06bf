"""What each further instance of one model costs."""
import pathlib

from measures.models import Model
from rig.daemon import Daemon, eventually
from rig.instances import instance_of, private_mib, proof
from rig.peers import load
from rig.ratios import Section

INSTANCES, INPUTS = 16, 2048
OWN = 5  # Instances that are looked at one by one.
BESIDE = 2  # The template, and a fork of it that waits for a call.


def pss(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    value = lambda name: int(rollup.split(f"\n{name}:")[1].split()[0]) * 1024
    return value("Pss"), value("Pss_Anon")


def own_of(daemon, model):
    """What an instance has of its own, as a share of the model's bytes; and the walls of one."""
    model.deploy(daemon, "own", memory="512MiB", keep_alive="300ms", template_keep_alive="1h")
    size, found = model.path.stat().st_size, []
    for _ in range(OWN):
        instance = instance_of(daemon, "own", str([[0.5] * INPUTS]))
        found.append(private_mib(instance) * 2**20 / size)
        walls = proof(instance)
    return found, walls


def run(watch):
    section = Section("memory", f"{INSTANCES} instances of one 100 MB model")
    model = Model("mlp100", [1, INPUTS], "float32")
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
    with Daemon(watch, echo_blanks=0) as daemon:
        own, walls = own_of(daemon, model)
    further = (sums[INSTANCES] - sums[1]) / (INSTANCES - 1) / 1e6
    limit = 12 + model.path.stat().st_size * 0.01 / 1e6
    section.add("PSS of each further instance", f"≤ {limit:.1f} MB", [further], limit, unit=" MB")
    section.add("An instance's own memory / the model's bytes", "≤ 0.02×", own, 0.02)
    section.note(f"Form: {form}. Its own: Private_Dirty and page tables of {OWN} instances, one after "
                 f"another, 200 ms after the first answer. One of them: {walls}. PSS of all workers, the template and the fork that waits among "
                 "them, each instance after some calls: one instance "
                 f"{sums[1] / 1e6:.1f} MB, {INSTANCES} instances {sums[INSTANCES] / 1e6:.1f} MB; "
                 f"anonymous memory of the largest {anonymous[INSTANCES] / 1e6:.1f} MB.")
    return section
