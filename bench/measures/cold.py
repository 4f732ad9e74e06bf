"""For information: a cold call of the echo function, and what starting its program costs."""
import json

from rig.daemon import Daemon
from rig.machine import BUILD, PROGRAMS, output
from rig.ratios import Section, spread

ROUNDS = 15
PHASES = ("sandbox_ms", "code_ms", "load_ms")


def spawn():
    said = output([PROGRAMS / "bench_floors", "spawn", BUILD / "bench/bench_echo"])
    return json.loads(said)["spawn"] / 1000


def run(watch):
    section = Section("cold", "A cold start of the echo function over HTTP (no bar)")
    kinds = {"echo": "a blank sandbox waits", "unblanked": "no blank sandbox"}
    took = {name: [] for name in kinds}
    phases = {(name, phase): [] for name in kinds for phase in (*PHASES, "run_ms")}
    spawned = []
    with Daemon(watch) as daemon:
        for name in kinds:
            daemon.deploy(name, name, keep_alive="100ms", memory="64MiB")
        for _ in range(ROUNDS):
            for name in kinds:
                daemon.wait_until_cold(name, "echo")
                ms, receipt = daemon.call(name, b"x")
                took[name].append(ms)
                for phase in PHASES:
                    phases[name, phase].append(receipt["wake"][phase])
                phases[name, "run_ms"].append(receipt["run_ms"])
            spawned.append(spawn())
            watch.look()
    rows = [[kinds[name], spread(took[name], 2),
             *(spread(phases[name, phase], 2) for phase in (*PHASES, "run_ms"))] for name in kinds]
    section.note(f"Medians (quartiles) of {ROUNDS} calls, ms. The same program by fork and exec, "
                 f"without a sandbox, until its first byte: {spread(spawned, 2)} ms.")
    section.table(["", "whole call", "sandbox", "code", "load", "run"], rows)
    return section
