"""What a sandbox of the runtime `python` runs: see dormouse_worker/program.py."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from dormouse_worker import program  # noqa: E402

sys.path.pop(0)

if __name__ == "__main__":
    sys.exit(program.run(int(os.environ.pop("DORMOUSE_SOCKET", "3"))))
