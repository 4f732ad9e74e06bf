"""Calls of a function, and what can be seen of its forked instances from outside."""
import pathlib
import re
import socket
import time

from rig.daemon import eventually
from rig.machine import in_group, processes

SETTLED = 0.06  # Seconds from asleep until another fork waits, beforehand.


class Connection:
    """HTTP over an open connection, with nothing of a client's own in the time that is taken."""

    def __init__(self, port, name, body, path=None, kind="application/json"):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = (f"POST {path or '/f/' + name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                        f"{kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()

    def send(self):
        self.socket.sendall(self.request)

    def receive(self):
        text = b""
        while b"\r\n\r\n" not in text or len(text.split(b"\r\n\r\n", 1)[1]) < length_of(text):
            part = self.socket.recv(65536)
            if not part:
                raise RuntimeError(f"the connection ended: {text!r}")
            text += part
        if not text.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(text.decode())
        return text

    def call(self):
        began = time.monotonic()
        self.send()
        text = self.receive()
        return (time.monotonic() - began) * 1000, text


def length_of(text):
    return int(re.search(rb"(?i)Content-Length: (\d+)", text)[1])


def forks(daemon):
    """Processes in slots, of all functions, the oldest first."""
    def in_slot(pid):
        try:
            return "/slot-" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
    return sorted(pid for pid in processes() if in_group(pid, daemon.mark) and in_slot(pid))


def groups(pid):
    """The control groups that bound it: one for each of these controllers on cgroup v1, one in all on v2."""
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    found = {name: path for _, names, path in (line.split(":", 2) for line in lines)
             for name in names.split(",")}
    if "memory" not in found:
        return {"cgroup": found.get("", "/")}
    return {f"{name} cgroup": found.get(name, "/") for name in ("memory", "cpu", "pids")}


def proof(pid):
    """What walls an instance, for people; RuntimeError if a wall is missing."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    field = lambda name: re.search(rf"^{name}:\s*(\S+)", status, re.M)[1]
    slots = groups(pid)
    root = pathlib.Path(f"/proc/{pid}/root")
    found = {"uid": field("Uid"), "Seccomp": field("Seccomp"), "CapEff": field("CapEff"),
             "NoNewPrivs": field("NoNewPrivs"), **slots,
             "/tmp device": (root / "tmp").stat().st_dev}
    walled = (found["Seccomp"] == "2" and int(found["CapEff"], 16) == 0 and
              found["NoNewPrivs"] == "1" and all("/slot-" in path for path in slots.values()) and
              int(found["uid"]) > 100_000 and found["/tmp device"] != pathlib.Path("/tmp").stat().st_dev)
    if not walled:
        raise RuntimeError(f"an instance without its walls: {found}")
    return ", ".join(f"{name} {value}" for name, value in found.items())


def private_mib(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    tables = re.search(r"VmPTE:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    dirty = re.search(r"Private_Dirty:\s+(\d+)", rollup)
    return (int(dirty[1]) + int(tables[1])) / 1024


def private_parts(pid):
    """Where private_mib() lies, in MiB: {"[heap]": 1.4, …}; "" is memory without a name."""
    parts = {"page tables": 0.0}
    name = ""
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        mapped = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)", line)
        if mapped:
            name = mapped[1].rsplit("/", 1)[-1]
        elif line.startswith("Private_Dirty:"):
            parts[name] = parts.get(name, 0) + int(line.split()[1]) / 1024
    tables = re.search(r"VmPTE:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    parts["page tables"] = int(tables[1]) / 1024
    return parts


def instance_of(daemon, name, body, kind="application/json", after=2):
    """The process that answered a call of a function at zero, 200 ms later: the fork that waited, and
    was woken. `after` so many instances before it: the first, and the fork that waits meanwhile, are
    made before the template has settled and brought what it holds into huge pages."""
    connection = Connection(daemon.port, name, body, kind=kind)
    for _ in range(after):
        connection.call()
        eventually(f"{name} sleeps", lambda: daemon.asleep(name))
        time.sleep(SETTLED)
    before = {pid: switches(pid) for pid in forks(daemon)}
    connection.call()
    time.sleep(0.2)
    return next(pid for pid in forks(daemon) if switches(pid) > before.get(pid, 1 << 30))


def switches(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])
