"""What a learned model is worth: its loss on what it never saw, and how much of what it says are words."""
import math

import torch

import passages
import tokenizer as t
import transformer

WINDOW = 256  # A token is told by the 128 to 256 before it, or all that there are.
TEMPERATURE, ANSWER_TOKENS_MAX = 0.8, 200
ASKED = ["Tell me of Moses.", "Tell me about the sea.", "Who is David?", "Tell me a story.", "Hello.",
         "Speak of the king.", "What of Jerusalem?", "Tell me a story about a woman.",
         "In the beginning", "And it came to pass, when the king", "Blessed are", "The LORD is my"]


@torch.no_grad()
def bits_per_byte(model, tokens, chapters):
    """Over whole chapters, each read from its beginning."""
    nats = size = 0
    for chapter in chapters:
        text = " ".join(chapter)
        size += len(text.encode())
        told = torch.tensor([tokens.ids[t.BEGIN], *tokens.encode(text), tokens.ids[t.END]])
        for begin in range(0, max(1, len(told) - WINDOW // 2), WINDOW // 2):
            window = told[begin:begin + WINDOW]
            scored = WINDOW // 2 if begin else 1
            chances = model(window[None, :-1])[0].log_softmax(-1)
            nats -= chances.gather(1, window[1:, None])[scored - 1:].sum().item()
    return nats / math.log(2) / size


@torch.no_grad()
def generate(model, prompt, stop, tokens_max, choose):
    past, said, given = transformer.Past(), [], prompt
    while len(said) < tokens_max and past.length + len(given) <= model.shape.context:
        token = choose(model(torch.tensor([given]), past)[0, -1])
        if token in stop:
            return said, True
        said.append(token)
        given = [token]
    return said, False


def greedy(logits):
    return int(logits.argmax())


def sampler(seed):
    chance = torch.Generator().manual_seed(seed)

    def choose(logits):
        return int(torch.multinomial((logits / TEMPERATURE).softmax(-1), 1, generator=chance))
    return choose


def prompt_of(tokens, asked):
    return [tokens.ids[t.BEGIN], tokens.ids[t.USER], *tokens.encode(asked),
            tokens.ids[t.END_OF_TURN], tokens.ids[t.ASSISTANT]]


def talk(model, tokens):
    """(asked, answered, whether it ended by itself), for each of ASKED, three times."""
    stop = {tokens.ids[t.END_OF_TURN], tokens.ids[t.END]}
    for seed in range(3):
        choose = sampler(seed)
        for asked in ASKED:
            said, ended = generate(model, prompt_of(tokens, asked), stop, ANSWER_TOKENS_MAX, choose)
            yield asked, tokens.decode(said), ended


def share_of_words(answers, chapters):
    known = set(passages.words_of(" ".join(verse for chapter in chapters for verse in chapter)))
    said = [word for answer in answers for word in passages.words_of(answer)]
    return sum(word in known for word in said) / max(1, len(said)), len(said)
