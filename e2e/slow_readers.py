#!/usr/bin/python3 -IS
"""Clients of the platform that read one byte a second each of what they are answered.

    slow_readers.py PORT HOW-MANY REQUEST [--narrow]

They say when all have sent their request, and leave when their input ends. Narrow ones leave the
kernel little room for what they do not read, so that the platform has to hold it.
"""

import select
import socket
import sys
import time


def connect(port, request, narrow):
    reader = socket.socket()
    if narrow:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # A sender is given room for some segments: for small ones that is little, too.
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 300)
    reader.connect(("127.0.0.1", port))
    reader.sendall(request)
    reader.setblocking(False)
    return reader


def read_a_byte(reader):
    try:
        reader.recv(1)
    except OSError:
        pass  # There is none yet, or it was cut.


def main():
    port, count, request = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
    readers = [connect(port, request, "--narrow" in sys.argv) for _ in range(count)]
    print("asked", flush=True)
    began, read = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        due = int((time.monotonic() - began) * count)
        for each in range(read, due):
            read_a_byte(readers[each % count])
        read = due


main()
