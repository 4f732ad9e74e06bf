"""Eight clients with JSON bodies of 4 MB beside a function that does nothing."""
import pathlib
import random
import tempfile

from measures.models import Model
from rig.daemon import Daemon
from rig.peers import Burden, load
from rig.ratios import Section, spread

ROUNDS, CLIENTS, SIZE = 7, 8, 4 << 20


def body(folder):
    """[[…12 numbers…], …] of about SIZE bytes."""
    numbers = random.Random(1)
    row_bytes = 12 * 9
    rows = ("[" + ",".join(f"{numbers.random():.6f}" for _ in range(12)) + "]"
            for _ in range(SIZE // (row_bytes + 2)))
    path = folder / "body.json"
    path.write_text("[" + ",".join(rows) + "]")
    return path


def run(watch):
    section = Section("bodies", "8 clients with JSON bodies of 4 MB")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dormouse-bench-bodies-"))
    size = {"connections": 1, "requests": 1500, "warm_up": 100}
    quiet, loud, done = [], [], []
    with Daemon(watch) as daemon:
        daemon.deploy("echo", "echo", keep_alive="10m", memory="64MiB", concurrency=32,
                      max_instances=1)
        Model("tiny", [1, 12], "float32").deploy(daemon, keep_alive="10m", concurrency=1,
                                              max_instances=1)
        path = body(folder)
        load(daemon.port, "/f/tiny", body=path, type="application/json", requests=2)
        for _ in range(ROUNDS):
            quiet.append(load(daemon.port, "/f/echo", "0,1", **size))
            with Burden(daemon.port, "/f/tiny", CLIENTS, path, "application/json") as burden:
                loud.append(load(daemon.port, "/f/echo", "0,1", **size))
            done.append(burden.said["rps"])
            watch.look()
    for figure in ("p90", "p99"):
        name = f"{figure} of another function / quiet"
        values = [a[figure] / b[figure] for a, b in zip(loud, quiet)]
        if figure == "p99":
            section.add(name, "≤ 2×", values, 2)
        else:
            section.note(f"{name}: {spread(values, 2)}×.")
    section.table(["", "p50 µs", "p90 µs", "p99 µs"],
                  [[name, *(spread([each[figure] for each in side]) for figure in
                            ("p50", "p90", "p99"))] for name, side in
                   (("quiet", quiet), ("beside the 8 clients", loud))])
    section.note(f"The 8 clients had {spread(done)} answers a second. Nothing is pinned: clients, "
                 "daemon and workers share all cores.")
    path.unlink()
    folder.rmdir()
    return section
