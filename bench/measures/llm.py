"""Language models, beside llama.cpp's own server on the same files."""
import time

from rig.daemon import Daemon
from rig.language import CONTEXT, MODELS, SERVER, SLOTS, THREADS, LlamaServer, deploy, make_models
from rig.ratios import Section, spread

KINDS = ("q8_0", "q4_0", "q4_k_m")
PAIRS = 9
PROMPT = 256
GENERATED = {1: 96, 4: 24, 8: 24}  # Tokens for each of so many clients: about a second of them.
SETTLED_IN = 2  # Seconds from the first call of a new function.
RESTED_IN = 0.3  # From an answer: llama-server's second thread looks for more work that long, on a processor that another would have.

WORK = {**{f"decode, {clients} client{'s' if clients > 1 else ''}":
           lambda end, clients=clients: end.generated_per_second(clients, GENERATED[clients]) for clients in GENERATED},
        "prompt": lambda end: PROMPT / end.first_token(PROMPT)}


def pair(watch, kind, turn):
    """Tokens a second, ours and llama-server's, for each kind of work: of two processes of its own, for
    what memory a process got decides over some hundredths of that."""
    rates = {}
    with Daemon(watch) as daemon, LlamaServer(MODELS / f"{kind}.gguf") as server:
        server.wait()
        ours = deploy(daemon, kind, keep_alive="10m")
        sides = (ours, server.endpoint) if turn % 2 == 0 else (server.endpoint, ours)
        for end in sides:
            end.first_token(16)
        time.sleep(SETTLED_IN)  # The next fork is made, beside what is measured otherwise.
        for what, measure in WORK.items():
            seconds = {end: 0.0 for end in sides}
            there, back = sides, sides[::-1]
            for end in there + back + back + there:  # What drifts, and what coming next costs, is on both.
                seconds[end] += 1 / measure(end)
                time.sleep(RESTED_IN)
            rates[what] = (4 / seconds[ours], 4 / seconds[server.endpoint])
    return rates


def beside(section, watch, kind, rows):
    pairs = []
    for turn in range(PAIRS):
        pairs.append(pair(watch, kind, turn))
        watch.look()
    for what in WORK:
        ours, theirs = zip(*(each[what] for each in pairs))
        section.add(f"{kind}: {what}, tokens a second / llama-server's", "≥ 0.97× (quartile 0.95)",
                    [a / b for a, b in zip(ours, theirs)], 0.95, at_least=True, median=0.97)
        rows.append([kind, what, spread(ours), spread(theirs)])


def run(watch):
    section = Section("llm", "Language models")
    if not SERVER.exists():
        raise RuntimeError(f"{SERVER} is not there: scripts/setup --bench builds it")
    make_models()
    rates = []
    for kind in KINDS:
        beside(section, watch, kind, rates)
    sizes = ", ".join(f"{kind} {(MODELS / f'{kind}.gguf').stat().st_size >> 20} MiB" for kind in KINDS)
    section.note(f"Models of random weights, {sizes}; {THREADS} threads and {SLOTS} slots of {CONTEXT} tokens on both "
                 f"sides. For each of {PAIRS} pairs both are started anew, and take turns, ABBABAAB, each {RESTED_IN} s after the one "
                 f"before: llama-server's second thread is on a processor for up to 0.2 s after an answer, looking for work. Decoding goes on from 16 tokens for {GENERATED[1]}, with several clients for {GENERATED[8]} each; a prompt has {PROMPT}. Medians "
                 f"(quartiles), tokens a second.")
    section.table(["model", "what", "dormouse", "llama-server"], rates)
    return section
