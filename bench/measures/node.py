"""Functions in Node: the first answer from nothing, beside a `node` that is spawned for it."""
import json
import os
import subprocess
import time

from rig.daemon import Daemon, eventually
from rig.instances import Connection
from rig.ratios import Section, spread

ROUNDS = 15

# What it says of itself is the time that loading the module took.
CODE = """
const began = process.hrtime.bigint();
const { createHash } = await import("node:crypto");
let digest = "x";
for (let i = 0; i < 5000; i++) digest = createHash("sha256").update(digest).digest("hex");
const loadMs = Number(process.hrtime.bigint() - began) / 1e6;
export const handler = async () => ({ load_ms: loadMs, pid: process.pid });
"""


def spawned():
    """Milliseconds until a new `node` runs its first line."""
    read, write = os.pipe()
    began = time.monotonic()
    process = subprocess.Popen(["node", "-e", f"require('fs').writeSync({write}, 'x')"], pass_fds=[write])
    os.close(write)
    os.read(read, 1)
    took = (time.monotonic() - began) * 1000
    os.close(read)
    process.wait()
    return took


def run(watch):
    section = Section("node", "Functions in Node from nothing")
    whole, own, spawn = [], [], []
    with Daemon(watch) as daemon:
        code = daemon.dir / "app.mjs"
        code.write_text(CODE)
        daemon.deploy("node", "node", [(code, "app.mjs")], handler="app.handler", keep_alive="0ms")
        connection = Connection(daemon.port, "node", "null")
        connection.call()  # Brings it into the page cache.
        for _ in range(ROUNDS):
            daemon.wait_until_cold("node", "node")
            spawn.append(spawned())
            eventually("a blank node", lambda: daemon.blanks("node") > 0)
            time.sleep(0.3)  # It boots.
            took, text = connection.call()
            whole.append(took)
            own.append(json.loads(text.split(b"\r\n\r\n", 1)[1])["load_ms"])
            watch.look()
    section.add("first answer from zero less the module's own load / `node` spawned", "≤ 0.35×",
                [(a - b) / c for a, b, c in zip(whole, own, spawn)], 0.35)
    section.note(f"{ROUNDS} calls that find the function asleep and a booted Node in a blank sandbox, in turn with a "
                 "`node` outside until it runs its first line. The module times its own load. Medians (quartiles), ms.")
    section.table(["", "ms"], [["first answer from zero", spread(whole)], ["of that, the module's own load", spread(own)],
                               ["`node` spawned", spread(spawn)]])
    return section
