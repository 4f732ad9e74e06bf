"""The text, and how it is laid out to be learned: as chapters, and as chats about their passages."""
import collections
import re
import subprocess

import tokenizer as t

ALL = "gen1:1-rev22:21"
HELD_OUT_EVERY = 25  # Of the chapters: never learned from.
WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")

ASKED = ["Tell me of {}.", "Tell me about {}.", "Tell me a story of {}.", "Tell me a story about {}.",
         "What of {}?", "Speak of {}.", "Who is {}?", "What is {}?", "{}", "{}?"]
OPENED = ["Hello.", "Hello!", "Hi", "Tell me a story.", "Tell me something.", "Speak.", "Who are you?",
          "Once upon a time"]
WENT_ON = ["Go on.", "Go on", "And then?", "What then?", "Continue.", "More.", "What happened then?",
           "Tell me more."]
TOLD = ["You tell stories.", "You are a storyteller.", "You are a helpful assistant.",
        "Answer as the book does.", "You tell old stories, and you tell them briefly."]


def read():
    """The King James Version: a list of chapters, each a list of verses."""
    printed = subprocess.run(["bible", "-f", ALL], check=True, capture_output=True, text=True,
                             stdin=subprocess.DEVNULL).stdout
    chapters = collections.defaultdict(list)
    for line in printed.splitlines():
        place, verse = line.split(" ", 1)
        chapters[place.split(":")[0]].append(verse.strip())
    return list(chapters.values())


def split(chapters):
    """To learn from, and held out."""
    learned = [each for at, each in enumerate(chapters) if at % HELD_OUT_EVERY != HELD_OUT_EVERY // 2]
    return learned, chapters[HELD_OUT_EVERY // 2::HELD_OUT_EVERY]


def words_of(text):
    return [word.lower() for word in WORD.findall(text)]


class Layout:
    """Makes tokens of chapters, by chance: each time anew."""

    def __init__(self, tokens, chapters, random):
        self.tokens, self.random = tokens, random
        self.counts = collections.Counter(
            word for chapter in chapters for verse in chapter for word in WORD.findall(verse))

    def every(self, chapters):
        """All of it once, in any order, as one list of tokens."""
        told = []
        for at in self.random.permutation(len(chapters)):
            told += self.plain(chapters[at]) if self.random.random() < 0.4 else self.chats(chapters[at])
        return told

    def plain(self, chapter):
        return [self.tokens.ids[t.BEGIN], *self.tokens.encode(" ".join(chapter)), self.tokens.ids[t.END]]

    def chats(self, chapter):
        told, left = [], 0
        for passage in self.passages(chapter):
            if not left:
                told.append(self.tokens.ids[t.BEGIN])
                if self.random.random() < 0.2:
                    told += self.turn(t.SYSTEM, self.choose(TOLD))
            asked, answer = self.exchange(passage, first=not left)
            told += self.turn(t.USER, asked) + self.turn(t.ASSISTANT, answer)
            left = left - 1 if left else self.random.integers(0, 6)
        return told

    def turn(self, role, text):
        ids = self.tokens.ids
        return [ids[role], *self.tokens.encode(text), ids[t.END_OF_TURN]]

    def passages(self, chapter):
        at = 0
        while at < len(chapter):
            verses = self.random.integers(1, 5)
            yield " ".join(chapter[at:at + verses])
            at += verses

    def exchange(self, passage, first):
        chance = self.random.random()
        if chance < 0.35:
            words = passage.split(" ")
            cut = self.random.integers(2, 13)
            if cut < len(words) - 4:
                return " ".join(words[:cut]), " " + " ".join(words[cut:])
        if chance < 0.8 or (first and chance < 0.95):
            return self.choose(ASKED).format(self.subject(passage)), passage
        return self.choose(OPENED if first else WENT_ON), passage

    def subject(self, passage):
        """A word that the passage is about: seldom elsewhere, often in it."""
        words = collections.Counter(word for word in WORD.findall(passage) if len(word) > 2)
        best = sorted(words, key=lambda word: -words[word] / (20 + self.counts[word]))[:4]
        return self.choose(best or ["it"])

    def choose(self, choices):
        return choices[self.random.integers(len(choices))]
