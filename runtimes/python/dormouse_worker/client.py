"""What a function's code imports as `dormouse`: calls of other functions.

    import dormouse
    line = dormouse.invoke("read-text-line", picture, content_type="image/png")
    scores = dormouse.invoke("classifier", {"input": numpy_array})["scores"]

The payload   bytes go as they are (`content_type`, or application/octet-stream); a dict of numpy
              arrays as tensors, by name; everything else as JSON.
The result    The value of a JSON answer; a dict of numpy arrays for tensors; text as str; bytes.
Errors        Error, with `code` ("not_found", "throttled", …) and the message.

It works inside a handler, in its own process, and reaches nothing but functions. Threads that the
handler starts itself say which call they are in with contextvars.copy_context().run, as
asyncio.to_thread does, if several calls run at a time."""

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
    module.invoke, module.Error = invoke, Error
    sys.modules["dormouse"] = module


def invoke(name, payload=None, *, content_type=None):
    content, body = _content(payload, content_type)
    handle = wire.CALL_BIT | next(_numbers)
    reader, descriptors = _worker.call(handle, name, content, body)
    if reader.number("B"):
        code = reader.number("B")
        raise Error(_CODES[code] if code < len(_CODES) else "function_failed", reader.text())
    return _result(wire.Content(reader), wire.body_of_answer(reader, descriptors))


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
