"""`dormouse dev`: how long after a save the code that was saved answers."""
import http.client
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from rig.daemon import PROGRAM, eventually
from rig.ratios import Section, spread

SAVES = 15
CODE = {
    "python": ("app.py", "def handler(event, context):\n    return {number}\n"),
    "node": ("app.mjs", "export const handler = async () => {number};\n"),
}


class Sitting:
    """One `dormouse dev` in a project's folder, with a state folder of its own."""

    def __init__(self, watch, runtime):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="dormouse-bench-"))
        self.folder = self.dir / "project"
        self.folder.mkdir()
        (self.folder / "dormouse.yaml").write_text(
            f"name: saved\nruntime: {runtime}\nhandler: app.handler\nkeep_alive: 10m\n")
        self.file, self.code = CODE[runtime]
        self.save(0)
        self.said = open(self.dir / "said", "w+")
        self.process = subprocess.Popen(
            [PROGRAM, "dev", self.folder], stdin=subprocess.PIPE, stdout=self.said, stderr=self.said,
            env={**os.environ, "XDG_STATE_HOME": str(self.dir / "state")})
        self.says("saved@1 serves")
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/f/saved", self.text())[1])
        identity = next((self.dir / "state/dormouse").glob("*/sandboxes/id"))
        watch.marks.add("dormouse-" + identity.read_text().strip())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.said.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def text(self):
        return (self.dir / "said").read_text()

    def says(self, words):
        eventually(f"{words!r} in {self.text()!r}", lambda: words in self.text())

    def save(self, number):
        """As editors do it: whole, by a rename."""
        written = self.dir / "written"
        written.write_text(self.code.replace("{number}", str(number)))
        written.rename(self.folder / self.file)

    def call(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/f/saved", "null", {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.status != 200:
            raise RuntimeError(text)
        return text

    def saved_to_answer(self, number):
        """(until it says that it serves, until a call made then is answered by it), in ms."""
        began = time.monotonic()
        self.save(number)
        self.says(f"saved@{number + 1} serves")
        serves = time.monotonic()
        if self.call() != str(number):
            raise RuntimeError("what was saved before answered")
        return (serves - began) * 1000, (time.monotonic() - began) * 1000


def run(watch):
    section = Section("dev", "From a save to the answer of what was saved")
    rows = []
    for runtime in CODE:
        with Sitting(watch, runtime) as sitting:
            figures = [sitting.saved_to_answer(number) for number in range(1, SAVES + 1)]
            watch.look()
        serves, answers = zip(*figures)
        section.add(f"{runtime}: from a save until a call is answered by it", "≤ 1,000 ms", list(answers),
                    1000, unit=" ms")
        rows.append([runtime, spread(serves), spread(answers)])
    section.note(f"`dormouse dev` in a folder with a manifest and one file, which is saved {SAVES} times. A save counts "
                 "from the rename; `dev` says that the revision serves once its trial has started it. "
                 "Medians (quartiles), ms.")
    section.table(["", "serves", "answered"], rows)
    return section
