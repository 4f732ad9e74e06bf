"""A stream that nobody reads, beside seven of the same worker that are read."""
import os
import socket
import time

from rig.daemon import ROOTS, Daemon, eventually
from rig.ratios import Section, spread

ROUNDS, FRESH, SETTLED, READ, KIB = 15, 7, 0.3, 7, 32 << 10
ASKED = f"stream {KIB}"
REQUEST = (f"POST /f/streams HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/plain\r\n"
           f"Content-Length: {len(ASKED)}\r\n\r\n{ASKED}").encode()


def ask(port):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(REQUEST)
    return stream


def read_to_the_end(port):
    """In a process of its own, which ends here: says by its status whether all came."""
    came = 0
    try:
        room = bytearray(1 << 18)
        with ask(port) as stream:
            while count := stream.recv_into(room):
                came += count
    finally:
        os._exit(0 if came > KIB << 10 else 1)


def seconds_for_seven(port):
    began = time.monotonic()
    readers = []
    for _ in range(READ):
        child = os.fork()
        if child == 0:
            read_to_the_end(port)
        readers.append(child)
    if any(os.waitpid(child, 0)[1] for child in readers):
        raise RuntimeError("a stream was cut short")
    return time.monotonic() - began


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def deploy(daemon):
    daemon.deploy("streams", "probe", keep_alive="10m", memory="64MiB", concurrency=READ + 1, max_instances=1)
    return lambda: daemon.function("streams")["summary"]["running"]


def run(watch):
    section = Section("stalled", "A stream that is not read, beside seven that are")
    runtimes = {"probe": {"root": f"{ROOTS}/probe", "argv": ["/bin/worker"], "blanks": 0}}
    quiet, beside, held = [], [], []

    def two_in_a_row(daemon):
        return seconds_for_seven(daemon.port) + seconds_for_seven(daemon.port)

    def with_the_eighth(daemon, running):
        with ask(daemon.port):
            eventually("it has begun", lambda: running() == 1)
            time.sleep(SETTLED)  # It has stalled by then.
            seconds = two_in_a_row(daemon)
        eventually("its slot is free", lambda: running() == 0)
        seconds_for_seven(daemon.port)  # Whoever leaves takes the instance with him: this is another.
        return seconds

    with Daemon(watch, runtimes=runtimes) as daemon:
        running = deploy(daemon)
        seconds_for_seven(daemon.port)
        for _ in range(ROUNDS):
            before, meanwhile = two_in_a_row(daemon), with_the_eighth(daemon, running)
            quiet.append((before + two_in_a_row(daemon)) / 2)
            beside.append(meanwhile)
            watch.look()
    for _ in range(FRESH):  # Daemons that have streamed nothing, and so have no memory over from it.
        with Daemon(watch, runtimes=runtimes) as daemon:
            running = deploy(daemon)
            daemon.ask("POST", "/f/streams", "echo up", "text/plain")
            before = resident(daemon.process.pid)
            with ask(daemon.port):
                eventually("it has begun", lambda: running() == 1)
                time.sleep(SETTLED)
                held.append((resident(daemon.process.pid) - before) / 2**20)
    section.add("throughput of the seven / without the eighth", "≥ 0.95×", [a / b for a, b in zip(quiet, beside)], 0.95,
                at_least=True)
    section.add("the daemon's memory for the eighth", "≤ 1 MiB", held, 1, unit=" MiB")
    section.note(f"Streams of {KIB >> 10} MiB each from one instance, over HTTP to seven processes that read as fast as they can; the eighth "
                 "client has asked and reads nothing. Nothing is pinned. Medians (quartiles).")
    megabytes = lambda side: spread([2 * READ * KIB / 1024 / each for each in side])
    section.table(["", "the seven together, MiB/s"], [["alone", megabytes(quiet)], ["beside it", megabytes(beside)]])
    return section
