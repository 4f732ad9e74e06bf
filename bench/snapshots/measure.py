#!/usr/bin/python3
"""What Node's start-up snapshot would give a function, beside a booted Node that waits.

Prints medians in ms, of sides that take turns, until a process has done what it does before a handler can be called:
  booted, load     loading the module in a Node that is there already, which is what runtime `node` does
  spawned          a new `node`, with nothing to load
  snapshot, empty  a new `node` from a snapshot with nothing in it
  snapshot, much   a new `node` from a snapshot of the module, which has kept a table of 60,000 texts
  snapshot, little the same, of a module that computed as long and kept one text
"""
import pathlib
import statistics
import subprocess
import tempfile
import time

ROUNDS = 15

MODULE = """
const { createHash } = require("node:crypto");
const began = process.hrtime.bigint();
const table = {};
for (let i = 0, digest = "x"; i < 60000; i++) table[(digest = createHash("sha256").update(digest).digest("hex"))] = i;
KEEP
globalThis.took = Number(process.hrtime.bigint() - began) / 1e6;
"""
MUCH = MODULE.replace("KEEP", "globalThis.kept = table;")
LITTLE = MODULE.replace("KEEP", "globalThis.kept = Object.keys(table)[7];")
SAY = 'require("node:fs").writeSync(1, String(globalThis.took ?? 0) + "\\n");'
MAIN = f'require("node:v8").startupSnapshot.setDeserializeMainFunction(() => {{ {SAY} }});'


def until_it_says(words):
    began = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    said = float(process.stdout.readline())
    took = (time.monotonic() - began) * 1000
    process.wait()
    return took, said


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, text in (("empty", MAIN), ("much", MUCH + MAIN), ("little", LITTLE + MAIN)):
            (folder / f"{name}.js").write_text(text)
            subprocess.run(["node", "--snapshot-blob", folder / f"{name}.blob", "--build-snapshot", folder / f"{name}.js"],
                           check=True, cwd=folder)
        sides = {"spawned": ["node", "-e", SAY], "snapshot, empty": ["node", "--snapshot-blob", folder / "empty.blob"],
                 "snapshot, much": ["node", "--snapshot-blob", folder / "much.blob"],
                 "snapshot, little": ["node", "--snapshot-blob", folder / "little.blob"],
                 "booted, load": ["node", "-e", MUCH + SAY]}
        took = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, words in sides.items():
                whole, own = until_it_says(words)
                took[name].append(own if name == "booted, load" else whole)
        for name, values in took.items():
            print(f"{name:18} {statistics.median(values):6.1f}")


if __name__ == "__main__":
    main()
