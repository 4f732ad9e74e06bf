"""What a function's code imports as `dormouse`: calls of other functions.

    import dormouse
    line = dormouse.invoke("read-text-line", picture, content_type="image/png")
    scores = dormouse.invoke("classifier", {"input": numpy_array})["scores"]
    for event in dormouse.stream("tiny-stories", {"prompt": "Once", "stream": True}): ...

The payload   bytes go as they are (`content_type`, or application/octet-stream); a dict of numpy
              arrays as tensors, by name; everything else as JSON.
The result    The value of a JSON answer; a dict of numpy arrays for tensors; text as str; bytes.
stream()      gives what a function streams piece by piece, as it comes: the data of each event of
              text/event-stream, else str for text, bytes for all else. An answer that is no stream
              is one piece, as invoke() gives it. Whoever stops taking pieces ends the call.
Errors        Error, with `code` ("not_found", "throttled", …) and the message.

It works inside a handler, in its own process, and reaches nothing but functions. Threads that the
handler starts itself say which call they are in with contextvars.copy_context().run, as
asyncio.to_thread does, if several calls run at a time."""

import codecs
import contextvars
import itertools
import json
import math
import sys
import types

from . import wire

_CODES = (
    "invalid_argument", "unauthorized", "not_found", "conflict", "too_large", "unsupported",
    "throttled", "overloaded", "deadline_exceeded", "function_failed", "unavailable", "cancelled",
)  # fmt: skip
_NUMBERS = ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")  # By code.

_worker = None
_numbers = itertools.count(1)
current = contextvars.ContextVar("dormouse_call", default=None)  # Of this thread or task.


class Error(Exception):
    """A call that has no answer."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


def offer(worker):
    """Makes this `import dormouse` for the function's code."""
    global _worker
    _worker = worker
    module = types.ModuleType("dormouse", __doc__)
    module.invoke, module.stream, module.Error = invoke, stream, Error
    sys.modules["dormouse"] = module


def invoke(name, payload=None, *, content_type=None):
    frame = _worker.call(_new_handle(), name, *_content(payload, content_type))
    return _whole(frame)


def stream(name, payload=None, *, content_type=None):
    frames = _worker.stream(_new_handle(), name, *_content(payload, content_type))
    answer = next(frames)
    if not answer.flags & wire.FLAG_STREAMING:
        return _only(_whole(answer))
    kind = wire.Content(_answered(answer)).type.partition(";")[0].strip().lower()
    pieces = _pieces(frames)
    if kind == "text/event-stream":
        return _events(_texts(pieces))
    return _texts(pieces) if kind.startswith("text/") else pieces


def _new_handle():
    return wire.CALL_BIT | next(_numbers)


def _answered(frame):
    """The reader of what an `answer` brings. Raises what it says."""
    reader = wire.Reader(frame.payload)
    if reader.number("B"):
        code = reader.number("B")
        raise Error(_CODES[code] if code < len(_CODES) else "function_failed", reader.text())
    return reader


def _whole(frame):
    reader = _answered(frame)
    return _result(wire.Content(reader), wire.body_of_answer(reader, frame.descriptors))


def _only(value):
    yield value


def _pieces(frames):
    try:
        for frame in frames:
            if frame.type == wire.ANSWER:
                _answered(frame)
            if frame.payload:
                yield frame.payload
    finally:
        frames.close()


def _texts(pieces):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        for piece in pieces:
            if text := decoder.decode(piece):
                yield text
    finally:
        pieces.close()
    if text := decoder.decode(b"", True):
        yield text


def _events(texts):
    """https://html.spec.whatwg.org/multipage/server-sent-events.html, of which only `data` is told."""
    begun, data = [], []
    try:
        for text in texts:
            *lines, rest = text.split("\n")
            for line in lines:
                line = ("".join(begun) + line).removesuffix("\r")
                begun.clear()
                if line.startswith("data:"):
                    data.append(line[5:].removeprefix(" "))
                elif not line and data:
                    yield "\n".join(data)
                    data = []
            begun.append(rest)
    finally:
        texts.close()


def _content(payload, content_type):
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return wire.content(content_type or "application/octet-stream"), bytes(payload)
    if isinstance(payload, dict) and payload and all(map(_is_array, payload.values())):
        return _tensors(payload)
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    return wire.content(content_type or "application/json"), body


def _is_array(value):
    return hasattr(value, "dtype") and hasattr(value, "shape") and hasattr(value, "tobytes")


def _tensors(arrays):
    table, body = [], b""
    for name, array in arrays.items():
        kind = array.dtype.newbyteorder("<")
        form = kind.str.lstrip("<|=").replace("b1", "?")
        if form not in _NUMBERS:
            raise TypeError(f'"{name}": arrays of {array.dtype} cannot be sent as tensors')
        data = array.astype(kind, copy=False).tobytes()
        table.append((name, _NUMBERS.index(form), array.shape, len(body), len(data)))
        body += data
    return wire.tensor_content(table), body


def _result(content, body):
    if content.tensors is not None:
        return {name: _array(body, *rest) for name, *rest in content.tensors}
    kind = content.type.partition(";")[0].strip()
    if kind == "application/json" or kind.endswith("+json"):
        return json.loads(body) if body else None
    return body.decode("utf-8", "replace") if kind.startswith("text/") else body


def _array(body, code, shape, offset, size):
    import numpy

    if code >= len(_NUMBERS):
        raise TypeError("the answer has tensors of a type that numpy does not have")
    array = numpy.frombuffer(body, "<" + _NUMBERS[code], math.prod(shape), offset)
    return array.reshape(shape)
