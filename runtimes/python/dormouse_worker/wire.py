"""Frames and messages between the daemon and this worker: docs/formats/wire.md."""

import array
import collections
import mmap
import os
import socket
import struct
import threading

VERSION = 1
HELLO, LOAD, READY, INIT_FAILED, INVOKE = 1, 2, 5, 6, 7
CHUNK, RESULT, FAILED, CREDIT, CANCEL = 9, 10, 11, 12, 13
CALL, ANSWER = 15, 16
CALL_BIT = 1 << 63  # Of a call's handle.
DRAIN, ASK_ROOM, ROOM = 21, 22, 23
CONTEXT = 26
FLAG_END, FLAG_STREAMING = 1, 2

INLINE_MAX = 48 * 1024
PAYLOAD_MAX = 64 * 1024
CHUNK_MAX = 32 * 1024
CREDIT_WINDOW = 256 * 1024
DOCUMENT_MAX = 24 * 1024  # Of a failure.
FUNCTION_FAILED = 9  # Of base/result.h's codes.

_HEAD = struct.Struct("<IHHQ")
HEAD_SIZE = _HEAD.size
_DESCRIPTORS_MAX = 4
_CONTROL_SIZE = socket.CMSG_SPACE(_DESCRIPTORS_MAX * 4)


class Gone(Exception):
    """The daemon closed the socket."""


class Frame:
    __slots__ = ("type", "flags", "handle", "payload", "descriptors")

    def __init__(self, type, flags, handle, payload, descriptors):
        self.type = type
        self.flags = flags
        self.handle = handle
        self.payload = payload
        self.descriptors = descriptors


class Socket:
    """Frames over the socket `number`. Blocking. One thread may receive, any may send."""

    def __init__(self, number):
        self.number = number
        self._socket = socket.socket(fileno=number)
        self._socket.setblocking(True)
        self._sending = threading.Lock()
        self._late = collections.deque()

    def send(self, type, handle=0, payload=b"", flags=0):
        with self._sending:
            self._socket.sendall(_HEAD.pack(len(payload), type, flags, handle) + payload)
            self._send_late()

    def send_when_free(self, type, handle):
        """From where this thread may be sending already, as the garbage collector comes in the middle of
        anything: then it goes with what is sent next."""
        self._late.append(_HEAD.pack(0, type, 0, handle))
        if self._sending.acquire(blocking=False):
            try:
                self._send_late()
            finally:
                self._sending.release()

    def _send_late(self):
        while self._late:
            self._socket.sendall(self._late.popleft())

    def receive(self):
        descriptors = []
        length, type, flags, handle = _HEAD.unpack(self._read(_HEAD.size, descriptors))
        payload = self._read(length, descriptors) if length else b""
        return Frame(type, flags, handle, payload, descriptors)

    def _read(self, size, descriptors):
        data = b""
        while len(data) < size:
            part, control, _, _ = self._socket.recvmsg(size - len(data), _CONTROL_SIZE)
            if not part:
                raise Gone
            for level, kind, raw in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(raw[: len(raw) - len(raw) % numbers.itemsize])
                    descriptors.extend(numbers)
            data = data + part if data else part
        return data


class Reader:
    """Takes the fields of a payload one after the other."""

    def __init__(self, payload):
        self._payload = payload
        self._at = 0

    def number(self, form):
        (value,) = struct.unpack_from("<" + form, self._payload, self._at)
        self._at += struct.calcsize("<" + form)
        return value

    def take(self, size):
        value = self._payload[self._at : self._at + size]
        self._at += size
        return value

    def sized(self):
        return self.take(self.number("I"))

    def text(self):
        return self.sized().decode("utf-8", "replace")

    def options(self):
        return {self.text(): self.text() for _ in range(self.number("H"))}


def sized(data):
    if isinstance(data, str):
        data = data.encode("utf-8", "replace")
    return struct.pack("<I", len(data)) + data


def hello(runtime_version):
    return struct.pack("<I", VERSION) + sized("python") + sized(runtime_version)


def ready(notes):
    no_tensors = sized(struct.pack("<HH", 0, 0))
    pairs = b"".join(sized(key) + sized(value) for key, value in notes.items())
    return no_tensors + sized("python") + struct.pack("<H", len(notes)) + pairs


def failure(message, code=FUNCTION_FAILED, document=b"{}"):
    said = message.encode("utf-8", "replace")[: 32 * 1024]
    return struct.pack("<B", code) + sized(said) + sized(document)


class Item:
    """One invocation, as `invoke` brings it."""

    client_context = None  # As `context` brought it before, if it did: JSON.

    def __init__(self, reader):
        self.handle = reader.number("Q")
        high, low = reader.number("Q"), reader.number("Q")
        digits = f"{high:016x}{low:016x}"  # As a UUID is written.
        self.id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        self.attempt = reader.number("I")
        self.deadline_us = reader.number("Q")
        self.is_tensors = reader.number("B") != 0
        self.content_type = reader.text()
        for _ in range(reader.number("H")):
            reader.sized()
        self.body_size = reader.number("Q")
        self.in_memfd = reader.number("B") != 0
        self.body_offset = reader.number("Q")
        self.result_max = reader.number("Q")
        self.body = b"" if self.in_memfd else reader.take(self.body_size)

    @staticmethod
    def made_up(body):
        head = struct.pack("<QQQIQ", 0, 0, 0, 1, 0) + b"\0" + sized("application/json")
        return Item(Reader(head + struct.pack("<HQBQQ", 0, len(body), 0, 0, 0) + body))


def _mapped(descriptor, offset, size):
    # Privately: what nobody may write to any more can only be mapped so, before Linux 6.7.
    try:
        with mmap.mmap(descriptor, offset + size, mmap.MAP_PRIVATE, mmap.PROT_READ) as all:
            return all[offset:]
    finally:
        os.close(descriptor)


def items(frame):
    reader = Reader(frame.payload)
    descriptors = list(frame.descriptors)
    found = []
    for _ in range(reader.number("H")):
        item = Item(reader)
        if item.in_memfd:
            item.body = _mapped(descriptors.pop(0), item.body_offset, item.body_size)
        found.append(item)
    return found


def content(content_type):
    return b"\0" + sized(content_type)


def tensor_content(table):
    """Of (name, code of the type, shape, offset, size) each."""
    out = struct.pack("<H", len(table))
    for name, code, shape, offset, size in table:
        out += sized(name) + struct.pack(f"<BB{len(shape)}q", code, len(shape), *shape)
        out += struct.pack("<QQ", offset, size)
    return b"\1" + sized(out)


class Content:
    """What a body is: of a `type`, or `tensors` as tensor_content() takes them."""

    def __init__(self, reader):
        self.tensors, self.type = None, ""
        if not reader.number("B"):
            self.type = reader.text()
            return
        table = Reader(reader.sized())
        self.tensors = []
        for _ in range(table.number("H")):
            name, code = table.text(), table.number("B")
            shape = tuple(table.number("q") for _ in range(table.number("B")))
            self.tensors.append((name, code, shape, table.number("Q"), table.number("Q")))


def call(caller, name, content, body, in_memfd):
    head = struct.pack("<Q", caller) + sized(name) + content
    head += struct.pack("<QB", len(body), in_memfd)
    return head if in_memfd else head + body


def body_of_answer(reader, descriptors):
    """What follows the content of an `answer`."""
    size, in_memfd, offset = reader.number("Q"), reader.number("B"), reader.number("Q")
    if not in_memfd:
        return reader.take(size)
    return _mapped(descriptors[0], offset, size)


def answer(content_type, body, in_memfd, size):
    head = content(content_type) + struct.pack("<QQB", 0, size, in_memfd)
    return head if in_memfd else head + body


def answer_head(content_type):
    return answer(content_type, b"", False, 0)
