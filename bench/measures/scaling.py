"""Metric 4: how fast one template becomes hundreds of isolated instances."""
import json
import time

from measures.templates import floor
from rig.daemon import Daemon, eventually
from rig.instances import SETTLED, Connection, forks, proof
from rig.machine import PROGRAMS
from rig.ratios import Section, spread

INSTANCES, ROUNDS = 500, 7
HOLD_MS = 3000  # Longer than it takes until all are there: so each of them has one call.


def burst(daemon):
    """Instances a second, from the first request to the moment that the last instance had its call;
    and the walls of one of them."""
    connections = [Connection(daemon.port, "hold", str(HOLD_MS)) for _ in range(INSTANCES)]
    began = time.monotonic()
    for each in connections:
        each.send()
    time.sleep(HOLD_MS / 2000)
    walls = proof(forks(daemon)[0])
    answers = [json.loads(each.receive().split(b"\r\n\r\n", 1)[1]) for each in connections]
    apart = {answer["uid"] for answer in answers}
    if len(apart) != INSTANCES:
        raise RuntimeError(f"{INSTANCES} calls were answered by {len(apart)} instances")
    last = max(answer["began_ms"] for answer in answers) / 1000
    for each in connections:
        each.socket.close()
    return INSTANCES / (last - began), walls


def run(watch):
    section = Section("scaling", f"{INSTANCES} instances from one template (metric 4)")
    rates, floors = [], []
    # Declared, not used: room beside the heap for page tables, which the kernel (cgroup v1) goes on
    # charging to the template of a fork.
    with Daemon(watch, node={"memory": "512GiB"}) as daemon:
        daemon.deploy("hold", "executable", [(PROGRAMS / "bench_hold", "bootstrap")],
                      memory="1GiB", keep_alive="0ms", template_keep_alive="1h", timeout="60s",
                      max_instances=INSTANCES)
        # Makes the template, and teaches the scheduler that a call of it needs no CPU to itself.
        Connection(daemon.port, "hold", "500").call()
        for _ in range(ROUNDS):
            eventually("hold sleeps", lambda: daemon.asleep("hold"))
            time.sleep(SETTLED)
            rate, walls = burst(daemon)
            rates.append(rate)
            floors += [100_000 / ms for ms in floor()["hundred_ms"]]
            watch.look()
    section.add("native, 256 MiB: isolated instances a second", "≥ 500 /s", rates, 500,
                at_least=True, unit=" /s")
    section.note(f"{INSTANCES} calls at once find the function at zero; each keeps its instance, a "
                 "fork of a process with a heap of 256 MiB, until all are there. Counted until the "
                 "last one has its call, by the clock that instances and client share. The floor "
                 "forks as many a second without a sandbox, with the connection made meanwhile.")
    section.table(["", "instances/s"], [["dormouse", spread(rates, 0)], ["floor", spread(floors, 0)]])
    section.note(f"One instance: {walls}.")
    return section
