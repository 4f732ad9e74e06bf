"""Language models from nothing, beside llama.cpp's own server on the same files."""
import os
import statistics
import time

from measures.llm import KINDS
from rig.daemon import Daemon, eventually
from rig.instances import forks, private_mib
from rig.language import MODELS, SERVER, LlamaServer, deploy, make_models
from rig.machine import evict, have_memory, populate
from rig.ratios import Section, spread

ROUNDS, FIRST_TOKENS, ARTEFACTS = 9, 5, 9
MEMORY_MIB = 640  # More than any of them takes.


def spawned(kind):
    """Seconds from llama-server's spawning to its first token."""
    began = time.monotonic()
    with LlamaServer(MODELS / f"{kind}.gguf") as server:
        while not server.ready():
            time.sleep(0.002)
        server.endpoint.first_token(64)
        return time.monotonic() - began


def waking(section, watch, kind, rows, touched):
    cold, warm = [], []  # Of each round what is in the middle.
    with Daemon(watch) as daemon:
        name = kind.replace("_", "-")
        ours = deploy(daemon, kind, keep_alive="300ms")
        ours.first_token(64)
        for _ in range(ROUNDS):
            pairs = []
            for _ in range(FIRST_TOKENS):
                daemon.wait_until_cold(name)
                time.sleep(0.5)  # A fork waits by then.
                pairs.append((ours.first_token(64), ours.first_token(64)))
            for side, seconds in zip((cold, warm), zip(*pairs)):
                side.append(statistics.median(seconds))
            watch.look()
        section.add(f"{kind}: first token from the template / warm", "≤ 1.15×", [a / b for a, b in zip(cold, warm)], 1.15)
        # The fork that waits, and one that has answered and waits for more.
        deploy(daemon, kind, min_instances=1).first_token(64)
        os.sync()  # What is not yet on the disk of a program's file would count as its own.
        time.sleep(1)
        private = max(private_mib(pid) for pid in forks(daemon)) * 2**20
        size = (MODELS / f"{kind}.gguf").stat().st_size
        section.add(f"{kind}: memory of a further idle instance, which has answered / the model's bytes", "≤ 0.03×",
                    [private / size], 0.03)
    snapshot, artefact, disk, server = [], [], [], []
    with Daemon(watch) as daemon:
        ours = deploy(daemon, kind, keep_alive="0ms", template_keep_alive="0ms")
        ours.first_token(64)  # Lays its files out.
        saved = daemon.tree(name) / ".dormouse/snapshot"
        away = saved.with_name("away")

        def from_zero(seconds, cached, file):
            eventually("nothing is left of it", lambda: daemon.function(name)["summary"]["memory_bytes"] == 0)
            eventually("a blank sandbox waits", lambda: daemon.blanks("llm") > 0)
            (populate if cached else evict)(file)
            touched.append(have_memory(MEMORY_MIB))
            seconds.append(ours.first_token(64))

        for _ in range(ARTEFACTS):
            from_zero(snapshot, True, saved)
            saved.rename(away)  # As if it were of another kernel.
            from_zero(artefact, True, daemon.tree(name) / "model.gguf")
            away.rename(saved)
            from_zero(disk, False, saved)
            populate(MODELS / f"{kind}.gguf")
            touched.append(have_memory(MEMORY_MIB))
            server.append(spawned(kind))
            watch.look()
    for where, seconds in (("its snapshot", snapshot), ("the artefact", artefact)):
        section.add(f"{kind}: first token from {where} / from llama-server's spawning", "≤ 0.5×",
                    [a / b for a, b in zip(seconds, server)], 0.5)
    rows.append([kind, *(spread([1000 * x for x in each]) for each in (warm, cold, snapshot, artefact, disk, server))])


def run(watch):
    section = Section("llm_wakes", "Language models from nothing")
    if not SERVER.exists():
        raise RuntimeError(f"{SERVER} is not there: scripts/setup --bench builds it")
    make_models()
    rows, touched = [], []
    for kind in KINDS:
        waking(section, watch, kind, rows, touched)
    section.note("To the first token after a prompt of 64 that is new, ms; all over HTTP, the model in the page cache, by mincore. "
                 f"From the template: {ROUNDS} rounds of medians of {FIRST_TOKENS} cold calls and a warm one after each. "
                 "With nothing in memory a model is woken from its snapshot; from the artefact, where that is of another kernel or "
                 "release; a blank sandbox waits for it. From disk is the snapshot with none of it in the page cache. llama-server is spawned "
                 "as it is by default, and runs the model once before it answers.")
    section.note()
    section.note(f"Before each start from nothing, ours or llama-server's, {MEMORY_MIB} MiB of memory are touched and given back: this "
                 f"machine's host may take free memory away, and then a huge page takes {max(touched):.0f} µs to touch and not "
                 f"{min(touched):.0f}. Whoever packs weights into fresh memory would wait for that, up to a quarter of a second.")
    section.table(["model", "warm", "from the template", "from its snapshot", "from the artefact", "its snapshot, from disk",
                   "llama-server, from spawning"], rows)
    return section
