#!/usr/bin/python3
"""search.py FOLDER QUESTION...: the paragraphs of a folder's text files that are nearest to a question.

Each paragraph, or piece of a long one, becomes a vector, once for each revision of the model: they are
kept in FOLDER/.vectors.json. Asks the function `vectors` at $DORMOUSE_URL (default
http://127.0.0.1:8080) in OpenAI's words; needs nothing but Python.
"""
import hashlib
import json
import os
import pathlib
import sys
import textwrap
import urllib.error
import urllib.request

URL = os.environ.get("DORMOUSE_URL", "http://127.0.0.1:8080")
AT_A_TIME, SHOWN = 256, 3
LONGEST = 800  # Characters of a piece: some 200 tokens, for which most models have room.


def vectors(texts):
    body = json.dumps({"model": "vectors", "input": texts}).encode()
    request = urllib.request.Request(f"{URL}/v1/embeddings", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return [each["embedding"] for each in json.load(answer)["data"]]
    except urllib.error.HTTPError as refused:
        sys.exit(f"search: {json.load(refused)['error']['message']}")


def revision():
    with urllib.request.urlopen(f"{URL}/api/v1/functions/vectors") as answer:
        return json.load(answer)["function"]["revision"]["digest"]


def paragraphs(folder):
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".txt", ".md") and file.is_file():
            for text in file.read_text(errors="replace").split("\n\n"):
                for piece in textwrap.wrap(" ".join(text.split()), LONGEST):
                    yield file.relative_to(folder), piece


def index(folder):
    """Vectors by piece; those that are kept are not asked for again, of another model not used."""
    kept, model = folder / ".vectors.json", revision()
    before = json.loads(kept.read_text()) if kept.exists() else {}
    known = before.get(model, {})
    key = {text: hashlib.sha256(text.encode()).hexdigest() for _, text in paragraphs(folder)}
    new = [text for text in key if key[text] not in known]
    for at in range(0, len(new), AT_A_TIME):
        part = new[at:at + AT_A_TIME]
        known.update(zip((key[text] for text in part), vectors(part)))
    kept.write_text(json.dumps({model: known}))
    return {text: known[key[text]] for text in key}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, question = pathlib.Path(sys.argv[1]), " ".join(sys.argv[2:])
    known = index(folder)
    [asked] = vectors([question])
    near = lambda vector: sum(a * b for a, b in zip(vector, asked))
    found = sorted(paragraphs(folder), key=lambda each: -near(known[each[1]]))
    for file, text in found[:SHOWN]:
        print(f"{near(known[text]):.2f}  {file}: {text}")


if __name__ == "__main__":
    main()
