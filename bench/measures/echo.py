"""Metrics 5 and 6: what the platform adds to a call of a function that does nothing."""
from rig.daemon import Daemon
from rig.machine import CLIENT_CORE, SERVER_CORE, place
from rig.peers import Nginx, load
from rig.ratios import Section, spread

ROUNDS = 9
ONE = {"connections": 1, "requests": 4000, "warm_up": 300}
MANY = {"connections": 32, "requests": 24000, "warm_up": 1000}


class Side:
    """One of direct, nginx, dormouse: where it is, and what was measured of it."""

    def __init__(self, name, port, path="/"):
        self.name, self.port, self.path = name, port, path
        self.p50, self.p90, self.p99, self.rps = {}, {}, {}, {}

    def measure(self, kind, core, size):
        said = load(self.port, self.path, core, **size)
        for figure in ("p50", "p90", "p99", "rps"):
            getattr(self, figure).setdefault(kind, []).append(said[figure])


def rounds(sides, kind, core, size, watch):
    for number in range(ROUNDS):
        turn = number % len(sides)
        for side in sides[turn:] + sides[:turn]:
            side.measure(kind, core, size)
        watch.look()


def added(side, direct, kind):
    return [a - b for a, b in zip(side.p50[kind], direct.p50[kind])]


def ratios(above, below):
    return [a / b for a, b in zip(above, below)]


def run(watch):
    section = Section("echo", "The warm path (metrics 5 and 6)")
    with Nginx(SERVER_CORE) as peer, Daemon(watch, core=SERVER_CORE) as daemon:
        daemon.deploy("echo", "echo", keep_alive="10m", memory="64MiB", concurrency=32,
                      max_instances=1)
        sides = [Side("direct", peer.echo_port), Side("nginx", peer.port),
                 Side("dormouse", daemon.port, "/f/echo")]
        direct, nginx, dormouse = sides
        for side in sides:
            side.measure("warm", CLIENT_CORE, MANY)
        workers = daemon.workers()
        place(workers, {SERVER_CORE})  # The OCI runtime may have set another.
        rounds(sides, "c1", CLIENT_CORE, ONE, watch)
        rounds(sides, "c32", CLIENT_CORE, MANY, watch)
        rounds([direct, dormouse], "together", SERVER_CORE, ONE, watch)
        place([*peer.pids(), daemon.process.pid, *workers], {SERVER_CORE, CLIENT_CORE})
        rounds([direct, nginx, dormouse], "free", "0,1", ONE, watch)

    section.add("added p50 at c=1 / nginx's", "≤ 1.0×",
                ratios(added(dormouse, direct, "c1"), added(nginx, direct, "c1")), 1.0)
    section.add("throughput at c=32 / nginx's", "≥ 1.5×",
                ratios(dormouse.rps["c32"], nginx.rps["c32"]), 1.5, at_least=True)
    section.add("p50, client and all on one core / the direct echo's", "≤ 2.5×",
                ratios(dormouse.p50["together"], direct.p50["together"]), 2.5)
    section.add("p50, placed freely / nginx's", "≤ 1.2×",
                ratios(dormouse.p50["free"], nginx.p50["free"]), 1.2)
    section.note("Bodies of 100 bytes, kept-alive connections, a closed loop (coordinated omission: "
                 "a stall counts once). The function declares concurrency 32 and one instance. Servers share core 1, the load generator has core 0; "
                 "\"one core\" puts the client there, too; \"free\" pins nothing. "
                 f"Medians (quartiles) of {ROUNDS} rounds that take turns, µs.")
    kinds = {"c1": "c=1", "c32": "c=32", "together": "one core, c=1", "free": "free, c=1"}
    rows = []
    for kind, title in kinds.items():
        for side in sides:
            if kind in side.p50:
                rows.append([title, side.name, spread(side.p50[kind]), spread(side.p90[kind]),
                             spread(side.p99[kind]), spread(side.rps[kind], 0)])
    section.table(["", "server", "p50", "p90", "p99", "requests/s"], rows)
    return section
