"""HTTP servers as functions: beside nginx in front of the same server, and from nothing."""
import base64
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time

from measures.echo import MANY, ONE, Side, added, ratios, rounds
from rig.daemon import Daemon, eventually
from rig.instances import Connection
from rig.machine import CLIENT_CORE, PROGRAMS, REPOSITORY, SERVER_CORE, in_group, place, processes
from rig.peers import Nginx, free_port, wait_for
from rig.ratios import Section, spread

ECHOES, STARTS, SOCKET_ROUNDS = 1500, 15, 9
EXAMPLE = REPOSITORY / "examples/web-socket/server.mjs"


class WebSocket:
    """A client that sends a short frame and waits for it to come back."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(4096)
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"no WebSocket: {head[:200]!r}")

    def echo(self):
        self.socket.sendall(b"\x81\x90\0\0\0\0" + b"x" * 16)
        got = b""
        while len(got) < 18:
            got += self.socket.recv(64)

    def times(self):
        took = []
        for _ in range(ECHOES):
            began = time.perf_counter()
            self.echo()
            took.append((time.perf_counter() - began) * 1e6)
        return statistics.median(took)


class SocketSide:
    def __init__(self, name, port, path):
        self.name, self.client, self.p50 = name, WebSocket(port, path), {"echo": []}

    def measure(self):
        self.p50["echo"].append(self.client.times())


class Running:
    """A process, until the end of the block."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class NodeServer(Running):
    """The example, outside of everything."""

    def __init__(self, core=None):
        self.port = free_port()
        pin = ["taskset", "-c", str(core)] if core is not None else []
        self.began = time.monotonic()
        self.process = subprocess.Popen([*pin, "node", EXAMPLE], env={**os.environ, "PORT": str(self.port)})

    def __enter__(self):
        wait_for(self.port)
        return self

    def listens_after(self):
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return (time.monotonic() - self.began) * 1000
            time.sleep(0.0005)


class SocketNginx(Running):
    """nginx as one configures it for WebSockets, in front of the example."""

    def __init__(self, behind, core):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="dormouse-bench-peer-"))
        self.dir.chmod(0o755)
        self.port = free_port()
        text = (REPOSITORY / "bench/web/nginx.conf").read_text()
        for mark, value in (("PREFIX", self.dir), ("BEHIND", behind), ("PORT", self.port)):
            text = text.replace(mark, str(value))
        (self.dir / "nginx.conf").write_text(text)
        self.process = subprocess.Popen(["taskset", "-c", str(core), "nginx", "-p", self.dir, "-c", self.dir / "nginx.conf"])
        wait_for(self.port)


class Relay(Running):
    """What passes bytes on, and no more, in front of the echo server."""

    def __init__(self, behind, core):
        self.port = free_port()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), PROGRAMS / "bench_tcp_relay", str(self.port), str(behind)])
        wait_for(self.port)


def programs_of(daemon):
    return [pid for pid in processes() if in_group(pid, daemon.mark)]


def http(section, watch):
    with Nginx(SERVER_CORE) as peer, Relay(peer.echo_port, SERVER_CORE) as bare, Daemon(watch, core=SERVER_CORE) as daemon:
        daemon.deploy("web", "web", [(PROGRAMS / "bench_echo_server", "server")], keep_alive="10m", memory="64MiB",
                      concurrency=64, max_instances=1, command=["./server", "/tmp/echo.sock", "8080"])
        sides = [Side("direct", peer.echo_port), Side("nginx", peer.port), Side("dormouse", daemon.port, "/f/web/"),
                 Side("relay", bare.port)]
        direct, nginx, dormouse, relay = sides
        for side in sides:
            side.measure("warm", CLIENT_CORE, MANY)
        place(programs_of(daemon), {SERVER_CORE})
        rounds(sides, "c1", CLIENT_CORE, ONE, watch)
        rounds(sides, "c32", CLIENT_CORE, MANY, watch)
    section.add("throughput at c=32 / nginx's", "≥ 1.2×", ratios(dormouse.rps["c32"], nginx.rps["c32"]), 1.2, at_least=True)
    rows = [[kind, side.name, spread(side.p50[kind]), spread(side.p99[kind]), spread(side.rps[kind], 0)]
            for kind in ("c1", "c32") for side in sides]
    section.table(["", "server", "p50", "p99", "requests/s"], rows)
    section.note("For information: the relay only passes bytes on over TCP, as a function's program is reached, and reads none "
                 "of them. Its throughput at c=32 / nginx's, which has a Unix socket: "
                 + spread(ratios(relay.rps["c32"], nginx.rps["c32"]), 2)
                 + "; dormouse's / the relay's: " + spread(ratios(dormouse.rps["c32"], relay.rps["c32"]), 2) + ".")
    section.note("Added p50 at c=1 / nginx's, for information: "
                 + spread(ratios(added(dormouse, direct, "c1"), added(nginx, direct, "c1")), 2))


def sockets(section, watch):
    with NodeServer(SERVER_CORE) as node, SocketNginx(node.port, SERVER_CORE) as nginx, Daemon(watch, core=SERVER_CORE) as daemon:
        daemon.deploy("socket", "web", [(EXAMPLE, "server.mjs")], keep_alive="10m", memory="256MiB", concurrency=64,
                      max_instances=1, timeout="1h", command=["node", "server.mjs"])
        sides = [SocketSide("direct", node.port, "/echo"), SocketSide("nginx", nginx.port, "/echo"),
                 SocketSide("dormouse", daemon.port, "/f/socket/echo")]
        place(programs_of(daemon), {SERVER_CORE})
        os.sched_setaffinity(0, {CLIENT_CORE})
        for side in sides:
            side.client.times()
        for number in range(SOCKET_ROUNDS):
            turn = number % len(sides)
            for side in sides[turn:] + sides[:turn]:
                side.measure()
            watch.look()
        os.sched_setaffinity(0, range(os.cpu_count()))
    direct, nginx, dormouse = sides
    section.add("WebSocket echo: added p50 / nginx's", "≤ 1.2×", ratios(added(dormouse, direct, "echo"), added(nginx, direct, "echo")), 1.2)
    section.table(["WebSocket", "p50 µs"], [[side.name, spread(side.p50["echo"])] for side in sides])


def starts(section, watch):
    own, first = [], []
    with Daemon(watch) as daemon:
        daemon.deploy("start", "web", [(EXAMPLE, "server.mjs")], keep_alive="0ms", memory="256MiB", command=["node", "server.mjs"])
        for _ in range(STARTS):
            server = NodeServer()
            own.append(server.listens_after())
            server.__exit__()
            daemon.wait_until_cold("start", "web")
            connection = Connection(daemon.port, "start", "", path="/f/start/")
            first.append(connection.call()[0])
            watch.look()
    section.add("first answer from zero less the program's own time to listen", "≤ 5 ms",
                [a - b for a, b in zip(first, own)], 5.0, unit=" ms")
    section.table(["from zero", "ms"], [["node, until it listens", spread(own)], ["dormouse, first answer", spread(first)]])


def run(watch):
    section = Section("web", "HTTP servers as functions")
    http(section, watch)
    sockets(section, watch)
    starts(section, watch)
    section.note(f"The same server behind nginx (over a Unix socket) and as a function; servers share core 1, the client has core 0. "
                 f"Medians (quartiles) of rounds that take turns, µs. WebSocket: {ECHOES} frames of 16 bytes a round, one at a time, "
                 f"`examples/web-socket` on Node. From zero: {STARTS} starts of it, in turn with `node` outside.")
    return section
