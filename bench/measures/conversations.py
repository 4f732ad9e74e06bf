"""Conversations with a language model that sleep: their next turn beside reading all of them again."""
import http.client
import json
import time

from rig.daemon import Daemon
from rig.language import CONTEXT, deploy, make_models
from rig.ratios import Section, spread

KINDS = ("q8_0", "q4_0", "q4_k_m")
ROUNDS, TOKENS = 5, 2000


def say(daemon, end, name, messages):
    """Seconds to the first token, the answer, and the receipt."""
    connection = http.client.HTTPConnection("127.0.0.1", end.port, timeout=600)
    began = time.monotonic()
    connection.request("POST", "/v1/chat/completions", json.dumps(
        {"model": end.model, "messages": messages, "max_tokens": 8, "temperature": 0, "stream": True}),
        {"Content-Type": "application/json", "Dormouse-Conversation": name})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{end.model}: {response.status} {response.read()[:300]!r}")
    response.read(1)
    first = time.monotonic() - began
    events = [json.loads(line[6:]) for line in response.read().decode().split("\n") if line.startswith("data: {")]
    said = "".join(each["choices"][0]["delta"].get("content") or "" for each in events if each["choices"])
    invocation = response.headers["Dormouse-Invocation"]
    connection.close()
    return first, said, invocation


def tokens_of(daemon, invocation):
    time.sleep(0.2)
    return daemon.json(f"/api/v1/invocations/{invocation}")["receipts"][0]["tokens"]


def turns(daemon, end, number):
    """Both turns of one conversation: seconds to their first tokens, and what the second one read."""
    name = f"talk-{number}"
    # A word of this vocabulary is a token or two.
    story = f"The {number}th story. " + "The mouse sleeps in the warm house all winter long. " * (TOKENS // 11)
    messages = [{"role": "user", "content": story}]
    reading, said, _ = say(daemon, end, name, messages)
    daemon.wait_until_cold(end.model)
    time.sleep(1)  # A fork waits by then, and the conversation is on the disk.
    messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "What does it do in the spring?"}]
    again, _, invocation = say(daemon, end, name, messages)
    daemon.wait_until_cold(end.model)
    return reading, again, tokens_of(daemon, invocation)


def run(watch):
    section = Section("conversations", "Conversations that sleep")
    make_models()
    rows = []
    for kind in KINDS:
        readings, agains, used = [], [], []
        with Daemon(watch) as daemon:
            end = deploy(daemon, kind, keep_alive="300ms")
            for number in range(ROUNDS):
                reading, again, tokens = turns(daemon, end, number)
                readings.append(reading)
                agains.append(again)
                used.append(tokens)
                watch.look()
        section.add(f"{kind}: first token of a second turn after sleep / of reading the first turn", "≤ 0.1×",
                    [a / b for a, b in zip(agains, readings)], 0.1)
        rows.append([kind, spread(readings, 2), spread(agains, 2), used[-1]["prompt_read"] + used[-1]["prompt_reused"], used[-1]["prompt_reused"]])
    section.note(f"A conversation of {TOKENS} tokens or a little more, of {CONTEXT} that fit; the instance slept between its two "
                 "turns, and woke from its template. The first turn stands for reading all of it again: it has a few tokens "
                 "less. Seconds to the first token, medians (quartiles).")
    section.table(["model", "first turn", "second turn", "tokens of the second prompt", "of them known"], rows)
    return section
