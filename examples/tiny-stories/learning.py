"""From chapters to a folder with a model, its figures, and samples of what it does. See make.py."""
import dataclasses
import json

import numpy as np
import torch

import export
import figures
import passages
import tokenizer
import transformer

BITS_PER_BYTE_MAX, SHARE_OF_WORDS_MIN = 2.0, 0.9
VOCABULARY, CONTEXT = 4096, 1024
SHORT, LONG_FROM = 256, 0.9  # Tokens in a row at first, and when rows become as long as the context.
SEED = 1
TEXTS = ["In the beginning God created the heaven and the earth.", "Hello, world!", "  two  spaces ",
         "The dormouse sleeps; 12 cats wake up.\n\nThen?", "naïve café, 漢字 and 😀", "<|user|> is no token",
         "<0x0A>", "▁▁a", ""]


@dataclasses.dataclass(frozen=True)
class Plan:
    width: int
    layers: int
    heads: int
    hidden: int
    steps: int
    tokens: int  # In a step.


PLANS = {1: Plan(width=128, layers=3, heads=4, hidden=352, steps=140, tokens=2048),
         10: Plan(width=160, layers=4, heads=5, hidden=448, steps=400, tokens=4096)}


def say(text):
    print(f"tiny-stories: {text}", flush=True)


def targets(stream, tokens):
    """The stream, but what users and systems say is not to be learned: the model is to answer it."""
    asking = {tokens.ids[tokenizer.USER], tokens.ids[tokenizer.SYSTEM]}
    end, within, wanted = tokens.ids[tokenizer.END_OF_TURN], False, []
    for token in stream:
        wanted.append(transformer.NOT_LEARNED if within else token)
        within = token in asking or (within and token != end)
    return wanted


def batches(layout, chapters, plan):
    """Pairs of tokens and of what is to follow each. Rows are short first, at last of the whole context."""
    stream = []
    while len(stream) <= plan.steps * plan.tokens:
        stream += layout.every(chapters)
    size = plan.steps * plan.tokens
    given = torch.tensor(stream[:size]).view(plan.steps, -1)
    wanted = torch.tensor(targets(stream, layout.tokens)[1:size + 1]).view(plan.steps, -1)
    for step in range(plan.steps):
        length = SHORT if step < plan.steps * LONG_FROM else CONTEXT
        yield given[step].view(-1, length), wanted[step].view(-1, length)


def learned(chapters, plan):
    torch.manual_seed(SEED)
    # A line for each verse: no space is before its first word, as in an answer.
    lines = "\n".join(verse for chapter in chapters for verse in chapter)
    tokens = tokenizer.Tokenizer(tokenizer.learn(lines, VOCABULARY))
    layout = passages.Layout(tokens, chapters, np.random.default_rng(SEED))
    model = transformer.Transformer(transformer.Shape(
        len(tokens.texts), CONTEXT, plan.width, plan.layers, plan.heads, plan.hidden))
    weights = sum(each.numel() for each in model.parameters())
    say(f"learning: {weights / 1e6:.1f} million weights, {plan.steps * plan.tokens / 1e6:.1f} million tokens")
    transformer.learn(model, list(batches(layout, chapters, plan)), lambda step, steps, loss, seconds: say(
        f"step {step} of {steps}, loss {loss:.2f}, {seconds:.0f} s"))
    return rounded(model), tokens


def rounded(model):
    """To what the file will hold."""
    for each in model.parameters():
        if each.ndim == 2:
            each.data = each.data.half().float()
    return model


def measured(model, tokens, known, held_out):
    """The figures as text, and whether they are good enough."""
    bits = figures.bits_per_byte(model, tokens, held_out)
    talked = list(figures.talk(model, tokens))
    share, words = figures.share_of_words([answer for _, answer, _ in talked], known + held_out)
    ended = sum(ended for _, _, ended in talked)
    text = [f"held-out loss: {bits:.3f} bits per byte, on {len(held_out)} chapters that it never saw",
            f"words: {100 * share:.1f} % of {words} that it said occur in the text",
            f"answers: {ended} of {len(talked)} ended by themselves"]
    text += [f"  {asked} -> {answer}" for asked, answer, _ in talked[:len(figures.ASKED)]]
    return "\n".join(text) + "\n", bits <= BITS_PER_BYTE_MAX and share >= SHARE_OF_WORDS_MIN


def samples(model, tokens):
    prompts = [figures.prompt_of(tokens, asked) for asked in figures.ASKED[:4]]
    return {"texts": [{"text": text, "tokens": tokens.encode(text)} for text in TEXTS],
            "greedy": [{"prompt": prompt,
                        "tokens": figures.generate(model, prompt, (), 64, figures.greedy)[0]}
                       for prompt in prompts]}


def make(folder, plan, chapters):
    """Gives whether it is good enough."""
    learned_from, held_out = passages.split(chapters)
    model, tokens = learned(learned_from, plan)
    export.save(folder / "model.gguf", model, tokens)
    (folder / "samples.json").write_text(json.dumps(samples(model, tokens)))
    text, good = measured(model, tokens, learned_from, held_out)
    (folder / "figures.txt").write_text(text)
    return good
