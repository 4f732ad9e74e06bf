"""Finds a user's handler, gives it events as AWS Lambda does, and makes an answer of what it
returns.

The event   The JSON value of the body; None if it is empty. A body that is not JSON comes as an
            event of a function URL: {"body", "isBase64Encoded", "headers": {"content-type"}}.
The answer  What is returned, as JSON; `bytes` as they are. An async handler is awaited. What is
            yielded by a generator, plain or async, is streamed: text and bytes as they are.
"""

import base64
import importlib
import itertools
import json
import os
import sys
import threading
import time
import types

from . import client, wire

CODE = "/code"

HOOKS = ("before_template", "rehearse_template", "after_fork")

# Of a code's flags; `inspect` has them as well, and takes its time.
CO_COROUTINE, CO_ASYNC_GENERATOR = 0x80, 0x200


class HandlerError(Exception):
    """The handler cannot be had. The message is for the user."""


class Identity:
    """Of a caller whom Amazon Cognito knows; here there is none, and on Lambda these are None then."""

    cognito_identity_id = None
    cognito_identity_pool_id = None


class Client:
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext:
    __slots__ = ("custom", "env", "client")


def _filled(made, given):
    """Its attributes, of what a client says; those that it does not are None."""
    for name in made.__slots__:
        setattr(made, name, given.get(name))
    return made


def client_context_of(text):
    """As Lambda's own runtime has it; None if nothing is said."""
    if text is None:
        return None
    context = _filled(ClientContext(), json.loads(text))
    if isinstance(context.client, dict):
        context.client = _filled(Client(), context.client)
    return context


class Context:
    """What a handler is told of its invocation: the attributes of AWS Lambda's context."""

    def __init__(self, item, settings):
        self.aws_request_id = item.id
        self.function_name = settings.name
        self.function_version = settings.version
        self.invoked_function_arn = settings.arn
        self.memory_limit_in_mb = settings.memory_mib
        self.log_group_name = "/dormouse/" + settings.name
        self.log_stream_name = settings.version
        self.identity = Identity()
        self.client_context = client_context_of(item.client_context)
        self._deadline = time.monotonic() + item.deadline_us / 1e6

    def get_remaining_time_in_millis(self):
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def log(self, message):
        print(message)


class Settings:
    def __init__(self, options):
        self.name = options.get("name", "function")
        self.version = options.get("revision", "$LATEST")
        self.memory_mib = options.get("memory_mib", "")
        self.concurrency = int(options.get("concurrency", "1"))
        self.arn = f"arn:dormouse:lambda:local:default:function:{self.name}"


def find(name):
    """`folder/module.function` in /code. Imports it, which may take as long as it likes."""
    path, dot, function = name.rpartition(".")
    if not dot or not path or not function:
        raise HandlerError(f'handler: "{name}" is not module.function, as app.handler')
    module = _import(path.replace("/", "."))
    for part in function.split("."):
        if not hasattr(module, part):
            there = sorted(k for k, v in vars(module).items() if callable(v) and k[0] != "_")
            raise HandlerError(
                f'handler: {path} has no "{function}"; it has: {", ".join(there[:20]) or "nothing to call"}'
            )
        module = getattr(module, part)
    if not callable(module):
        raise HandlerError(f'handler: "{name}" cannot be called')
    hooks = (getattr(_module_of(module), hook, None) for hook in HOOKS)
    if any(map(_is_async, (module, *hooks))):
        _asyncio()  # Now, and not in each fork.
    return module


def _is_async(handler):
    for _ in range(100):  # Who wraps what is the code's own affair.
        handler = getattr(handler, "__wrapped__", handler)
    function = handler if hasattr(handler, "__code__") else getattr(type(handler), "__call__", None)
    code = getattr(function, "__code__", None)
    return isinstance(code, types.CodeType) and code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR) != 0


def _asyncio():
    """Takes as long to import as all the rest together, and most handlers have no use for it."""
    import asyncio

    return asyncio


def has_hook(handler, name):
    """One of HOOKS of the handler's module."""
    return callable(getattr(_module_of(handler), name, None))


def run_hook(handler, name):
    """Awaits it, if it is `async`."""
    if has_hook(handler, name):
        value = getattr(_module_of(handler), name)()
        if isinstance(value, types.CoroutineType):
            _awaited(value)


def _module_of(handler):
    return sys.modules.get(getattr(handler, "__module__", ""))


def _import(name):
    top = name.split(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name == name or missing.name == top:
            files = sorted(f for f in os.listdir(CODE) if not f.startswith("."))
            raise HandlerError(
                f'handler: there is no module "{name}"; the code has: {", ".join(files[:20])}'
            ) from None
        raise


def event_of(item):
    kind = item.content_type.partition(";")[0].strip().lower()
    if not item.body:
        return None
    if kind in ("", "application/json") or kind.endswith("+json") or kind == "application/x-www-form-urlencoded":
        try:
            return json.loads(item.body)
        except ValueError as wrong:
            # curl's --data says it is a form unless told otherwise; a form is not JSON.
            if kind == "application/x-www-form-urlencoded":
                return _request_event(item)
            raise HandlerError(f"the body is not JSON: {wrong}") from None
    return _request_event(item)


def _request_event(item):
    event = {"version": "2.0", "headers": {"content-type": item.content_type}}
    try:
        text = item.body.decode("utf-8") if item.content_type.startswith("text/") else None
    except UnicodeDecodeError:
        text = None
    if text is not None:
        return {**event, "body": text, "isBase64Encoded": False}
    return {**event, "body": base64.b64encode(item.body).decode(), "isBase64Encoded": True}


def call(handler, event, context):
    """Gives (content type, bytes), or (content type, iterator of bytes) for a stream."""
    value = handler(event, context)
    if isinstance(value, types.CoroutineType):
        value = _awaited(value)
    if isinstance(value, types.GeneratorType):
        return "application/octet-stream", _begun(map(_piece, value))
    if isinstance(value, types.AsyncGeneratorType):
        return "application/octet-stream", _begun(map(_piece, _drawn(value)))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "application/octet-stream", bytes(value)
    return "application/json", json.dumps(value, default=_unknown).encode()


def _begun(pieces):
    """What fails before its first piece fails as a whole."""
    first = next(pieces, None)
    return pieces if first is None else itertools.chain((first,), pieces)


def _unknown(value):
    # What Lambda's own runtime takes beyond JSON's types. Nobody has one who has not imported it.
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _piece(value):
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return json.dumps(value, default=_unknown).encode() + b"\n"


# The loop of all async handlers of this process, if calls run side by side: made for the first of
# them, by whoever has `_sharing`.
_sharing = None
_shared_loop = None


def share_loop():
    global _sharing
    _sharing = threading.Lock()
    if "asyncio" in sys.modules:
        _run_shared(_loop())  # The one that the code may have used while it was imported.


def _run_shared(loop):
    global _shared_loop
    _shared_loop = loop
    threading.Thread(target=_run_shared_loop, name="async handlers", daemon=True).start()


def _run_shared_loop():
    _asyncio().set_event_loop(_shared_loop)
    while True:
        try:
            _shared_loop.run_forever()
        except BaseException:  # A task raised SystemExit. Who awaits it is told.
            pass


def _awaited(value):
    if _sharing is None:
        return _loop().run_until_complete(value)

    asyncio = _asyncio()
    with _sharing:
        if _shared_loop is None:
            _run_shared(asyncio.new_event_loop())
    caller = client.current.get()

    async def whole():
        client.current.set(caller)
        return await value

    return asyncio.run_coroutine_threadsafe(whole(), _shared_loop).result()


def _loop():
    asyncio = _asyncio()
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
        if not loop.is_closed():
            return loop
    except RuntimeError:
        pass
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _drawn(generator):
    while True:
        try:
            yield _awaited(generator.__anext__())
        except StopAsyncIteration:
            return


def last_words(error):
    """One line for the caller: Lambda's errorType and errorMessage."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# What AWS's runtimes bring, by the host's package that has it.
_AWS = {"boto3": "python3-boto3", "botocore": "python3-botocore"}


def what_is_missing(error):
    """What to do about an import that finds nothing; "" if there is nothing to say."""
    name = (isinstance(error, ModuleNotFoundError) and error.name or "").partition(".")[0]
    if name not in _AWS:
        return ""
    return (
        f"; AWS's runtimes bring {name}, this one does not: put it beside the code "
        f"(pip install --target . {name}), or say python.packages: host, with the host's {_AWS[name]}"
    )


def error_document(error, traceback_lines, request_id):
    """Lambda's, but for the errorMessage, which is in the last words."""
    document = {"errorType": type(error).__name__[:256], "requestId": request_id}
    whole = _utf8({**document, "stackTrace": traceback_lines})
    return whole if len(whole) <= wire.DOCUMENT_MAX else _utf8(document)


def _utf8(document):
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def use_code(options):
    """Makes the revision's code, and the host's packages if it wants them, importable."""
    for name in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        if options.get("env." + name):
            raise HandlerError(
                f"env: {name} is read as a program starts, and Python has started before it is known whose "
                'it is: leave it out, and load libraries by their path, as ctypes.CDLL("/code/lib/libx.so"), '
                "before what needs them is imported; programs that the code starts are given it in os.environ"
            )
    os.chdir(CODE)
    beside = os.path.join(CODE, "python")
    named = map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(":")))
    sys.path[:0] = [CODE, *([beside] if os.path.isdir(beside) else []), *named]
    if options.get("python.packages") == "host":
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for path in (f"/usr/local/lib/{version}/dist-packages", "/usr/lib/python3/dist-packages"):
            if os.path.isdir(path):
                sys.path.append(path)
