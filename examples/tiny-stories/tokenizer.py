"""Splits text into tokens, exactly as llama.cpp does by a vocabulary of the kind "llama".

A vocabulary is learned by byte pair encoding: the pair of neighbours that is most frequent within
words becomes a token, again and again. A token is within one word, with the space before it, or it
is one other character; so a word's tokens do not depend on what is around it, and are remembered.
A character that is no token becomes tokens of its bytes: any text can be told.
"""
import collections
import heapq
import itertools
import re

SPACE = "▁"  # How a space is written in a token.
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SYSTEM, USER, ASSISTANT, END_OF_TURN = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
CONTROL = [BEGIN, END, SYSTEM, USER, ASSISTANT, END_OF_TURN]
BYTES = [f"<0x{value:02X}>" for value in range(256)]
CHARACTERS = [SPACE, *map(chr, range(ord("!"), ord("~") + 1))]
WORDS = re.compile(f"{SPACE}?[A-Za-z]+|{SPACE}?[^A-Za-z{SPACE}]|{SPACE}")


def pairs_of(symbols):
    return zip(symbols, symbols[1:])


def joined(symbols, pair):
    """With each occurrence of the pair as one symbol, from the left."""
    result = []
    for symbol in symbols:
        if result and (result[-1], symbol) == pair:
            result[-1] += symbol
        else:
            result.append(symbol)
    return result


class Pairs:
    """How often each pair of neighbours occurs within the words, and in which of them."""

    def __init__(self, words):
        self.words = [(list(word), count) for word, count in sorted(words.items())]
        self.counts, self.places = collections.Counter(), collections.defaultdict(set)
        for place in range(len(self.words)):
            self.count(place, +1)
        self.waiting = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.waiting)

    def count(self, place, sign):
        symbols, count = self.words[place]
        for pair in pairs_of(symbols):
            self.counts[pair] += sign * count
            self.places[pair].add(place)
        return pairs_of(symbols)

    def most_frequent(self):
        """Or nothing, if none occurs twice."""
        while self.waiting:
            count, pair = heapq.heappop(self.waiting)
            if -count == self.counts[pair] and count < -1:
                return pair
        return None

    def join(self, pair):
        changed = set()
        for place in self.places.pop(pair):
            changed.update(self.count(place, -1))
            symbols, count = self.words[place]
            self.words[place] = joined(symbols, pair), count
            changed.update(self.count(place, +1))
        for each in changed - {pair}:
            heapq.heappush(self.waiting, (-self.counts[each], each))


def learn(text, size):
    """The merges' results, the most frequent first, for a vocabulary of `size` tokens."""
    pairs = Pairs(collections.Counter(WORDS.findall(text.replace(" ", SPACE))))
    learned = {}
    while len(learned) < size - len(CONTROL) - len(BYTES) - len(CHARACTERS) - 1:
        pair = pairs.most_frequent()
        if not pair:
            break
        learned.setdefault("".join(pair))
        pairs.join(pair)
    return list(learned)


class Tokenizer:
    """`texts` by id, `scores` by id: of two possible merges the one with the higher score is made."""

    def __init__(self, merged):
        self.texts = [UNKNOWN, *CONTROL, *BYTES, *merged, *CHARACTERS]
        self.ids = {text: number for number, text in enumerate(self.texts)}
        self.scores = [-float(number) for number in range(len(self.texts))]
        self.first_byte = 1 + len(CONTROL)
        self.first_normal = self.first_byte + len(BYTES)
        self.known = {}

    def encode(self, text):
        """Of plain text; no control token comes out of it."""
        return list(itertools.chain.from_iterable(
            map(self.word, WORDS.findall(text.replace(" ", SPACE)))))

    def word(self, word):
        if word not in self.known:
            self.known[word] = [self.ids[each] if each in self.ids else self.first_byte + each
                                for each in self.split(word)]
        return self.known[word]

    def split(self, word):
        symbols = list(word)
        while True:
            merges = [(self.ids[a + b], at) for at, (a, b) in enumerate(pairs_of(symbols))
                      if a + b in self.ids]
            if not merges:
                break
            _, at = min(merges)
            symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
        for symbol in symbols:
            if symbol in self.ids:
                yield symbol
            else:
                yield from symbol.encode()

    def decode(self, ids):
        """What is read of the tokens, without control tokens."""
        said = bytearray()
        for number in ids:
            if number >= self.first_normal:
                said += self.texts[number].replace(SPACE, " ").encode()
            elif number >= self.first_byte:
                said.append(number - self.first_byte)
        return said.decode(errors="replace")
