"""What a sandbox of the runtime `python` runs: see dormouse_worker/program.py."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from dormouse_worker import program  # noqa: E402

sys.path.pop(0)

if __name__ == "__main__":
    status = program.run(int(os.environ.pop("DORMOUSE_SOCKET", "3")))
    # Nobody needs what the interpreter would tidy up, which in a fork is also the template's.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
