#!/usr/bin/python3 -IS
"""A client of the platform that reads nothing of what it is answered until its input ends.

    late_reader.py PORT REQUEST

Then it prints all of it. It leaves the kernel little room, so that the platform has to hold it.
"""

import socket
import sys


def main():
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # A sender is given room for some segments: for small ones that is little, too.
    reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 300)
    reader.connect(("127.0.0.1", int(sys.argv[1])))
    reader.sendall(sys.argv[2].encode())
    sys.stdin.read()
    while piece := reader.recv(1 << 16):
        sys.stdout.buffer.write(piece)


main()
