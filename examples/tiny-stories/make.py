#!/usr/bin/python3
"""make.py [--minutes 10|1] [--into FOLDER]: makes a small language model, from a text to a GGUF file.

The text is the King James Version of the Bible, out of Debian's bible-kjv. A vocabulary is learned of it, then
a transformer of a few million weights, then its file is written for llama.cpp:

  FOLDER/model.gguf     the model, FP16, with its vocabulary and a chat template
  FOLDER/figures.txt    what it is worth, as printed
  FOLDER/samples.json   how this script splits some texts into tokens, and goes on from some prompts,
                        always with the likeliest token: what runs the file has to agree
  FOLDER/made-of        the digest of the text, of the scripts that learn, and of what was asked for

Where made-of is up to date there is nothing to do. FOLDER is $DORMOUSE_DEPS/tiny-stories/10-minutes if it is
not said, or 1-minute. The learning takes so many minutes at most on two free cores; its steps are fixed,
so that a busy machine takes longer and comes to the same model. It fails if the model is not good enough.

Needs Debian's bible-kjv, python3-torch, libopenblas0-pthread, python3-numpy and python3-yaml, and gguf-py in
$DORMOUSE_DEPS/llama (default: .deps in the repository): scripts/setup --demo has all of it.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

# Read as the libraries are loaded. The threads are transformer.Learning's.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

HERE = pathlib.Path(__file__).resolve().parent
DEPS = pathlib.Path(os.environ.get("DORMOUSE_DEPS") or HERE.parents[1] / ".deps").resolve()
# What comes out depends on these.
SCRIPTS = ("passages.py", "tokenizer.py", "transformer.py", "learning.py", "figures.py", "export.py")
NAMES = {1: "1-minute", 10: "10-minutes"}


def check_what_is_needed():
    """Torch says for itself that it is not there."""
    for there, missing in ((shutil.which("bible"), "bible, of Debian's bible-kjv"),
                           ((DEPS / "llama/gguf-py").is_dir(), f"{DEPS}/llama/gguf-py")):
        if not there:
            sys.exit(f"tiny-stories: {missing} is not there: scripts/setup --demo installs it")


def digest_of(chapters, minutes):
    told = hashlib.sha256(json.dumps([minutes, chapters]).encode())
    for name in SCRIPTS:
        told.update((HERE / name).read_bytes())
    return told.hexdigest()


def replace(folder, minutes, chapters, digest):
    """With a new one, once that is complete; gives whether it is good enough."""
    import learning  # It takes seconds, and most of the time nothing is to be done.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as work:
        made = pathlib.Path(work) / folder.name
        made.mkdir()
        good = learning.make(made, learning.PLANS[minutes], chapters)
        if good:
            (made / "made-of").write_text(digest)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
        else:
            print((made / "figures.txt").read_text(), end="")
        return good


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--minutes", type=int, choices=NAMES, default=10)
    parser.add_argument("--into", type=pathlib.Path)
    arguments = parser.parse_args()
    check_what_is_needed()
    folder = (arguments.into or DEPS / "tiny-stories" / NAMES[arguments.minutes]).resolve()
    sys.path[:0] = [str(HERE), str(DEPS / "llama/gguf-py")]
    import passages
    chapters = passages.read()
    digest = digest_of(chapters, arguments.minutes)
    stamp = folder / "made-of"
    if not stamp.exists() or stamp.read_text() != digest:
        if not replace(folder, arguments.minutes, chapters, digest):
            sys.exit("tiny-stories: this is not good enough, and was not kept")
    print((folder / "figures.txt").read_text(), end="")


if __name__ == "__main__":
    main()
