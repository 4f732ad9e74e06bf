"""A language model while another program needs a processor, beside llama.cpp's own server."""
import contextlib
import subprocess

from rig.daemon import Daemon
from rig.language import MODELS, SERVER, THREADS, LlamaServer, deploy, make_models
from rig.ratios import Section, spread

KIND = "q4_k_m"
PAIRS, GENERATED = 9, 12


@contextlib.contextmanager
def a_program_that_computes():
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as program:
        try:
            yield
        finally:
            program.kill()


def run(watch):
    section = Section("crowd", "A language model in a crowd")
    if not SERVER.exists():
        raise RuntimeError(f"{SERVER} is not there: scripts/setup --bench builds it")
    make_models()
    rates = {"alone": ([], []), "beside it": ([], [])}
    with Daemon(watch) as daemon, LlamaServer(MODELS / f"{KIND}.gguf") as server:
        ours = deploy(daemon, KIND, keep_alive="10m")
        server.wait()
        ends = (ours, server.endpoint)
        for end in ends:
            end.first_token(16)
        for turn in range(PAIRS):
            for when, crowd in (("alone", contextlib.nullcontext), ("beside it", a_program_that_computes)):
                with crowd():
                    for side in (0, 1) if turn % 2 == 0 else (1, 0):
                        rates[when][side].append(ends[side].generated_per_second(1, GENERATED))
            watch.look()
    mine, theirs = rates["beside it"]
    section.add(f"{KIND}: decode beside a program that computes, tokens a second / llama-server's", "≥ 2×",
                [a / b for a, b in zip(mine, theirs)], 2, at_least=True)
    section.add(f"{KIND}: decode beside a program that computes / alone", "≥ 0.4×",
                [a / b for a, b in zip(mine, rates["alone"][0])], 0.4, at_least=True)
    section.note(f"{THREADS} threads on both sides, on a machine of two processors, and a shell that counts without end. One "
                 f"client, {GENERATED} tokens after a prompt of 16. A fair share would be three quarters. Medians (quartiles), "
                 "tokens a second.")
    section.table(["", "dormouse", "llama-server"],
                  [[when, spread(a), spread(b)] for when, (a, b) in rates.items()])
    return section
