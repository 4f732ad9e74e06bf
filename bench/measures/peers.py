"""For information: what else runs functions, beside the same function here, in one run."""
import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import time

from measures.packages import deploy
from rig.daemon import Daemon, eventually
from rig.instances import SETTLED, Connection, instance_of, private_mib, proof
from rig.machine import REPOSITORY, output
from rig.peers import free_port
from rig.ratios import Section, spread

ROUNDS, WARM_CALLS = 9, 100

FILES = REPOSITORY / "bench/peers"
NPM = pathlib.Path(os.environ.get("DORMOUSE_DEPS", REPOSITORY / ".deps")) / "peers/node_modules"
WORKERD = NPM / "@cloudflare/workerd-linux-64/bin/workerd"
TABLE = (REPOSITORY / "examples/pandas-table/towns.csv").read_text()


def workerd(port):
    return [WORKERD, "serve", FILES / "workerd.capnp", f"--socket-addr=http=127.0.0.1:{port}"]


def fastify(port):
    return ["node", FILES / "server.mjs", NPM / "fastify/fastify.js", str(port)]


def gunicorn(port):
    return ["gunicorn", "--preload", "--workers", "2", "--log-level", "error", "--keep-alive", "75",
            "--worker-class", "gthread", "--bind", f"127.0.0.1:{port}", "--chdir", FILES,
            "table:application"]


class Server:
    """A peer: from nothing to its first answer, again and again, and warm calls of it."""

    def __init__(self, name, command, body):
        self.name, self.command, self.body = name, command, body
        self.first, self.warm, self.memory = [], [], []

    def answer(self, port):
        with contextlib.suppress(OSError):
            connection = Connection(port, self.name, self.body, path="/", kind="text/plain")
            connection.call()
            return connection
        return None

    def measure(self):
        port = free_port()
        began = time.monotonic()
        process = subprocess.Popen(self.command(port), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            connection = eventually(f"{self.name} answers", lambda: self.answer(port))
            self.first.append((time.monotonic() - began) * 1000)
            self.warm.append(statistics.median(connection.call()[0] for _ in range(WARM_CALLS)))
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            # A further one costs what one of its forks has, or, if there are none, all of it.
            self.memory.append(private_mib(max(map(int, children.split()), default=process.pid)))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


class Spawn:
    """An interpreter for each request."""

    name, memory, warm = "python3, spawned for each request", [], []

    def __init__(self):
        self.first = []

    def measure(self):
        began = time.monotonic()
        done = subprocess.run(["/usr/bin/python3", FILES / "table.py"], input=TABLE.encode(),
                              capture_output=True, check=True)
        self.first.append((time.monotonic() - began) * 1000)
        if b"inhabitants" not in done.stdout:
            raise RuntimeError(f"no summary: {done.stdout!r}")


class Function:
    """The same here: a cold call from the template, and warm ones."""

    def __init__(self, daemon, title, name, body, kind):
        self.name, self.daemon, self.function = title, daemon, name
        self.cold = Connection(daemon.port, name, body, kind=kind)
        self.cold.call()  # Makes the template.
        instance = instance_of(daemon, f"{name}-warm", body, kind)
        self.walls = proof(instance)
        self.awake = Connection(daemon.port, f"{name}-warm", body, kind=kind)
        self.awake.call()  # One that says nothing for long is closed.
        self.first, self.warm, self.memory = [], [], [private_mib(instance)]

    def measure(self):
        eventually("it sleeps", lambda: self.daemon.asleep(self.function))
        time.sleep(SETTLED)
        self.first.append(self.cold.call()[0])
        self.warm.append(statistics.median(self.awake.call()[0] for _ in range(WARM_CALLS)))


def functions(daemon):
    native = REPOSITORY / "examples/native-heap"
    output([native / "build"])
    for name, keep_alive in (("native", "0ms"), ("native-warm", "10m")):
        daemon.deploy(name, "executable", [(native / "bootstrap", "bootstrap")], memory="600MiB",
                      keep_alive=keep_alive, template_keep_alive="1h")
    for name, keep_alive in (("pandas", "0ms"), ("pandas-warm", "10m")):
        deploy(daemon, "pandas-table", name, keep_alive=keep_alive)
    return [Function(daemon, "dormouse, examples/native-heap", "native", "27", "text/plain"),
            Function(daemon, "dormouse, examples/pandas-table", "pandas", TABLE, "text/csv")]


def run(watch):
    section = Section("peers", "What else runs functions (no bar)")
    peers = [Server("workerd", workerd, ""), Server("fastify", fastify, ""),
             Server("gunicorn --preload", gunicorn, TABLE), Spawn()]
    with Daemon(watch) as daemon:
        ours = functions(daemon)
        for _ in range(ROUNDS):
            for each in (*ours, *peers):
                each.measure()
            watch.look()
    shown = lambda values, digits: spread(values, digits) if values else ""
    section.note("Small answers: workerd and fastify say hello, native-heap looks a number up. A table "
                 "described with pandas: gunicorn's two workers are forked from the loaded program; "
                 "an interpreter is spawned for each request. Of a peer the first answer is from its "
                 "start, of a function from zero, where its template waits. Own memory: Private_Dirty "
                 f"and page tables of a process more. Medians (quartiles) of {ROUNDS} rounds that take "
                 "turns.")
    section.table(["", "first answer, ms", "warm, ms", "own memory, MiB"],
                  [[each.name, shown(each.first, 1), shown(each.warm, 2), shown(each.memory, 1)]
                   for each in (ours[0], *peers[:2], ours[1], *peers[2:])])
    versions = [output([WORKERD, "--version"]).strip(), output(["gunicorn", "--version"]).strip(),
                "Node " + output(["node", "--version"]).strip()]
    section.note(f"{', '.join(versions)}; fastify as bench/peers/package.json says. Their processes are "
                 "not walled off; an instance of native-heap is: " + ours[0].walls + ".")
    return section
