#!/usr/bin/python3
"""Holds the models that scripts write to what they say of them, by llama.cpp itself.

  models_test.py REPOSITORY DEPS

Skipped (77) where scripts/setup --test has not been.
"""
import filecmp
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

REPOSITORY, DEPS = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
TESTDATA = REPOSITORY / "runtimes/llm/testdata"
STORIES = sorted((DEPS / "tiny-stories").glob("*-minute*"))
SKIPPED = 77
# Both sides round, each in its own order: where two tokens are as likely, either may be said.
AS_LIKELY = 0.05


def samples(folder):
    return json.loads((folder / "samples.json").read_text())


def stories():
    for folder in STORIES:
        yield folder, llama_cpp.Model(LLAMA, folder / "model.gguf")


class TinyStories(unittest.TestCase):
    def test_texts_become_the_tokens_that_were_learned(self):
        for folder, model in stories():
            for sample in samples(folder)["texts"]:
                self.assertEqual(model.tokens(sample["text"]), sample["tokens"], sample["text"])

    def test_llama_cpp_goes_on_as_torch_did(self):
        for folder, model in stories():
            for sample in samples(folder)["greedy"]:
                model.forget()
                self.assertGreaterEqual(len(sample["tokens"]), 64)
                given, same = sample["prompt"], 0
                for wanted in sample["tokens"]:
                    logits = model.logits(given)
                    self.assertLess(logits.max() - logits[wanted], AS_LIKELY)
                    same += logits.argmax() == wanted
                    given = [wanted]
                self.assertGreaterEqual(same, 0.9 * len(sample["tokens"]))

    def test_a_prompt_is_what_the_template_makes_of_a_chat(self):
        for folder, model in stories():
            prompt = samples(folder)["greedy"][0]["prompt"]
            chat = "<|user|>Tell me of Moses.<|end|><|assistant|>"
            self.assertEqual(model.tokens(chat, special=True), prompt)
            self.assertEqual(model.text(prompt).decode(), "<s>" + chat)

    def test_it_is_as_good_as_promised(self):
        for folder in STORIES:
            figures = (folder / "figures.txt").read_text()
            number = lambda pattern: float(re.search(pattern, figures).group(1))
            self.assertLessEqual(number(r"held-out loss: ([\d.]+) bits per byte"), 2.0)
            self.assertGreaterEqual(number(r"words: ([\d.]+) %"), 90)
            self.assertGreaterEqual(number(r"answers: (\d+) of 36 ended"), 18)

    def test_it_is_made_of_this_text_and_these_scripts(self):
        for folder in STORIES:
            minutes = int(folder.name.split("-")[0])
            digest = make.digest_of(passages.read(), minutes)
            self.assertEqual((folder / "made-of").read_text(), digest, "scripts/setup --test makes it anew")


class Testdata(unittest.TestCase):
    def test_it_is_what_its_script_writes(self):
        with tempfile.TemporaryDirectory() as work:
            subprocess.run([TESTDATA / "make.py", work], check=True)
            for name in ("llama.gguf", "bert.gguf"):
                self.assertTrue(filecmp.cmp(TESTDATA / name, pathlib.Path(work) / name, shallow=False), name)

    def test_any_text_has_tokens(self):
        model = llama_cpp.Model(LLAMA, TESTDATA / "llama.gguf")
        for text in ("hello world", "Ärger, 漢字, 😀", "\x01\n\t", "<|im_end|>"):
            self.assertEqual(model.text(model.tokens(text)).decode(), text)

    def test_texts_with_words_in_common_are_nearer(self):
        model = llama_cpp.Model(LLAMA, TESTDATA / "bert.gguf", embeds=True)
        sleeps, dormouse, digits = map(model.embedding, (
            "the dormouse sleeps in the tree", "a dormouse sleeps", "12345"))
        self.assertGreater(sleeps @ dormouse, sleeps @ digits + 0.2)


if __name__ == "__main__":
    if not STORIES or not (DEPS / "llama/lib").is_dir():
        print(f"{DEPS} has no tiny-stories: scripts/setup --test makes it")
        sys.exit(SKIPPED)
    sys.path.append(str(REPOSITORY / "examples/tiny-stories"))
    import llama_cpp
    import make
    import passages
    LLAMA = llama_cpp.library(DEPS / "llama/lib")
    unittest.main(argv=sys.argv[:1])
