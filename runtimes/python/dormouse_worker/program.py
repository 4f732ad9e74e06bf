"""The worker: becomes a revision, answers its calls, and, as a template, is forked into instances
(docs/formats/template.md).

With a concurrency of 1, one thread does all. Above that each call has a thread of its own, and async
handlers share one event loop."""

import gc
import importlib
import logging
import mmap
import os
import struct
import sys
import threading
import time
import traceback

from . import client, gather, handler, mail, patience, template, wire

VERSION = sys.version.split()[0]


def run(number):
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    # As Lambda does, so that what a function logs is seen at the level that it sets.
    logging.basicConfig(stream=sys.stdout, format="[%(levelname)s] %(message)s")
    try:
        return Worker(number).serve()
    except (wire.Gone, BrokenPipeError, ConnectionResetError):
        return 0


class Worker:
    def __init__(self, number):
        self._socket = wire.Socket(number)
        self._mail = mail.Mail(self._socket)
        self._handler = None
        self._settings = None
        self._settle_ms = None  # What a fork has for `after_fork`.
        self._running = {}  # Calls, by handle.
        self._contexts = {}  # What the clients of the next calls say of themselves, likewise.
        self._pid = None
        client.offer(self)

    def serve(self):
        self._socket.send(wire.HELLO, 0, wire.hello(VERSION))
        while True:
            frame = self._mail.take()
            if frame.type == wire.INVOKE:
                for item in wire.items(frame):
                    item.client_context = self._contexts.pop(item.handle, None)
                    self._begin(item)
            elif frame.type == wire.CONTEXT:
                self._contexts[frame.handle] = frame.payload
            elif frame.type == wire.LOAD:
                if not self._load(wire.Reader(frame.payload).options()):
                    return 1
            elif frame.type == wire.DRAIN:
                return 0
            elif frame.type not in (wire.CANCEL, wire.CREDIT):
                print(f"worker: a frame of type {frame.type}", file=sys.stderr)
                return 2

    # ---- becoming a revision

    def _load(self, options):
        is_template = options.get("template") == "yes"
        template.hide_memory()
        if not is_template:
            template.drop_capabilities()
        notes = {"python": VERSION}
        snapshot = template.Snapshot(self._socket.number, options) if is_template and "snapshot" in options else None
        if snapshot and options["snapshot"] == "yes":
            notes["snapshot"] = "not used: " + snapshot.wake()
        self._settings = handler.Settings(options)
        self._settle_ms = options["settle_ms"]
        self._set_environment(options)
        doing = "importing " + options.get("handler", "")
        try:
            with patience.within(options["start_ms"]):
                with template.one_thread_each():
                    handler.use_code(options)
                    self._handler = handler.find(options.get("handler", ""))
                    doing = "before_template"
                    handler.run_hook(self._handler, doing)
                    if is_template and handler.has_hook(self._handler, "rehearse_template"):
                        doing = "rehearse_template"
                        gather.rehearse(lambda: handler.run_hook(self._handler, doing), template.fill_holes)
                if not is_template:  # It serves as it is, and may need what its hooks make.
                    doing = "after_fork"
                    handler.run_hook(self._handler, doing)
        except handler.HandlerError as wrong:
            self._socket.send(wire.INIT_FAILED, 0, wire.failure(str(wrong)))
            return False
        except BaseException as error:  # A module may raise SystemExit, or worse.
            _print_user_traceback(error)
            what = f"{doing}: {_last_words(error)}{handler.what_is_missing(error)}"
            self._socket.send(wire.INIT_FAILED, 0, wire.failure(what))
            return False
        why_not = template.why_not() if is_template else None
        if why_not:
            notes["template"] = "no: " + why_not
        self._socket.send(wire.READY, 0, wire.ready(notes))
        if is_template and not why_not:
            gc.freeze()
            template.serve(self._socket.number, self._settle_as_template, snapshot)  # Returns in an instance.
            return self._settle_in()
        self._get_ready_to_serve()
        return True

    def _get_ready_to_serve(self):
        self._pid = os.getpid()
        if self._settings.concurrency > 1:
            handler.share_loop()

    def _settle_as_template(self):
        """What all forks have of it but the first, which a call waits for."""
        for _ in range(16):
            self._rehearse()
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        template.fill_holes()

    def _settle_in(self):
        """In a fork, before its first call."""
        try:
            template.make_new()
            with patience.within(self._settle_ms):
                handler.run_hook(self._handler, "after_fork")
            self._rehearse()
        except BaseException as error:
            _print_user_traceback(error)
            what = f"after_fork: {_last_words(error)}"
            self._socket.send(wire.INIT_FAILED, 0, wire.failure(what))
            return False
        self._get_ready_to_serve()
        self._socket.send(wire.READY, time.monotonic_ns() // 1000, wire.ready({}))
        return True

    def _rehearse(self):
        """Goes through a call's motions without the user's code. Then what they touch is the fork's
        own, and their bytecode is specialised, before a call has to wait for that."""
        item = wire.Item.made_up(b'{"rehearsal": [1, 2.5, true, null, "text"]}')
        context = handler.Context(item, self._settings)
        content_type, body = handler.call(lambda event, _: event, handler.event_of(item), context)
        context.get_remaining_time_in_millis()
        _flush_printed()
        wire.answer(content_type, body, False, len(body))

    def _set_environment(self, options):
        settings = self._settings
        os.environ.update(
            {
                "_HANDLER": options.get("handler", ""),
                "LAMBDA_TASK_ROOT": handler.CODE,
                "LAMBDA_RUNTIME_DIR": "/opt/dormouse",
                "AWS_REGION": "local",
                "AWS_DEFAULT_REGION": "local",
                "AWS_EXECUTION_ENV": "dormouse",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_FUNCTION_NAME": settings.name,
                "AWS_LAMBDA_FUNCTION_VERSION": settings.version,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": settings.memory_mib,
                "AWS_LAMBDA_LOG_GROUP_NAME": "/dormouse/" + settings.name,
                "AWS_LAMBDA_LOG_STREAM_NAME": settings.version,
                "HOME": "/tmp",
                "LANG": "C.UTF-8",
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "TZ": ":UTC",
            }
        )
        for key, value in options.items():
            if key.startswith("env."):
                os.environ[key[4:]] = value
        time.tzset()  # This interpreter began without its TZ.

    # ---- answering calls

    def _begin(self, item):
        self._mail.open(item.handle)
        self._running[item.handle] = item
        if self._settings.concurrency == 1:
            try:
                return self._invoke(item)
            finally:
                self._end(item)
        try:
            threading.Thread(target=self._invoke_aside, args=(item,), daemon=True).start()
        except RuntimeError as error:  # Its processes and threads are limited.
            self._end(item)
            self._socket.send(wire.FAILED, item.handle, wire.failure(handler.last_words(error)))

    def _end(self, item):
        del self._running[item.handle]
        self._mail.close(item.handle)

    def _invoke_aside(self, item):
        try:
            self._invoke(item)
        except (wire.Gone, BrokenPipeError, ConnectionResetError):
            pass  # The main thread reads the same, and ends.
        finally:
            self._end(item)

    def _invoke(self, item):
        client.current.set(item.handle)
        try:
            content_type, body = self._call(item)
            if isinstance(body, bytes):
                self._answer(item, content_type, body)
            else:
                self._stream(item, content_type, body)
        except handler.HandlerError as wrong:
            self._socket.send(wire.FAILED, item.handle, wire.failure(str(wrong), 0))
        except (wire.Gone, BrokenPipeError, ConnectionResetError):
            raise
        except BaseException as error:  # A handler may raise SystemExit: that fails its call only.
            _print_user_traceback(error)
            _flush_printed()
            document = handler.error_document(error, _user_frames(error), item.id)
            said = wire.failure(handler.last_words(error), document=document)
            self._socket.send(wire.FAILED, item.handle, said)

    def _call(self, item):
        worker = os.getpid()
        try:
            return handler.call(
                self._handler, handler.event_of(item), handler.Context(item, self._settings)
            )
        finally:
            _leave_unless(worker)
            _flush_printed()

    def _answer(self, item, content_type, body):
        if len(body) > item.result_max:
            said = f"the answer has {len(body)} bytes, the limit is {item.result_max}"
            document = b'{"errorType": "Function.ResponseSizeTooLarge"}'
            self._socket.send(wire.FAILED, item.handle, wire.failure(said, document=document))
            return
        in_memfd = len(body) > wire.INLINE_MAX
        if in_memfd and not self._put_in_room(item, body):
            self._socket.send(
                wire.FAILED, item.handle, wire.failure("there is no room for the answer")
            )
            return
        self._socket.send(
            wire.RESULT, item.handle, wire.answer(content_type, body, in_memfd, len(body))
        )

    def _put_in_room(self, item, body):
        self._socket.send(wire.ASK_ROOM, item.handle, struct.pack("<Q", len(body)))
        return _fill(self._await(wire.ROOM, item.handle), body)

    def _stream(self, item, content_type, pieces):
        self._socket.send(
            wire.RESULT, item.handle, wire.answer_head(content_type), wire.FLAG_STREAMING
        )
        credit = wire.CREDIT_WINDOW
        worker = os.getpid()
        for piece in pieces:
            _leave_unless(worker)
            while piece:
                while credit == 0:
                    frame = self._await(wire.CREDIT, item.handle)
                    if frame is None:
                        return
                    credit += wire.Reader(frame.payload).number("I")
                now = piece[: min(credit, wire.CHUNK_MAX)]
                self._socket.send(wire.CHUNK, item.handle, now)
                credit -= len(now)
                piece = piece[len(now) :]
        _flush_printed()
        self._socket.send(wire.CHUNK, item.handle, b"", wire.FLAG_END)

    def _await(self, type, handle):
        """The next frame of this type for this call; None if nobody waits for it any more."""
        while True:
            frame = self._mail.take(handle)
            if frame.type == type:
                return frame
            if frame.type == wire.CANCEL and type == wire.CREDIT:
                self._socket.send(wire.FAILED, handle, wire.failure("cancelled"))
                return None

    # ---- making calls

    def call(self, handle, name, content, body):
        """Calls a function; gives the frame that answers."""
        self._must_be_the_handlers()
        self._mail.open(handle)
        try:
            return self._ask(handle, name, content, body)
        finally:
            self._mail.close(handle)

    def stream(self, handle, name, content, body):
        """The same; gives its frame, and then, if that says so, those of the stream. Who does not
        take all of them closes this generator."""
        self._must_be_the_handlers()
        self._mail.open(handle)
        goes_on = True
        try:
            frame = self._ask(handle, name, content, body, wire.FLAG_STREAMING)
            goes_on = frame.flags & wire.FLAG_STREAMING != 0
            yield frame
            taken = 0
            while goes_on:
                self._must_be_the_handlers()
                frame = self._mail.take(handle)
                goes_on = frame.type == wire.CHUNK and not frame.flags & wire.FLAG_END
                yield frame
                taken += wire.HEAD_SIZE + len(frame.payload)
                if goes_on and taken >= wire.CREDIT_WINDOW // 4:
                    self._socket.send(wire.CREDIT, handle, struct.pack("<I", taken))
                    taken = 0
        finally:  # Where the garbage collector may have come to.
            if os.getpid() == self._pid:
                self._mail.drop(handle)
                if goes_on:
                    self._socket.send_when_free(wire.CANCEL, handle)

    def _ask(self, handle, name, content, body, flags=0):
        caller = client.current.get()
        running = list(self._running)
        if caller not in running:  # A thread of the handler's own, or one left over.
            if not running:
                raise RuntimeError("functions are called while a call is answered, and only then")
            if len(running) > 1:
                raise RuntimeError(
                    "which call is this thread in? Start it with contextvars.copy_context().run"
                )
            caller = running[0]
        in_memfd = len(body) + len(content) > wire.INLINE_MAX
        message = wire.call(caller, name, content, body, in_memfd)
        if len(message) > wire.PAYLOAD_MAX:
            raise ValueError("the name and the tensors take more than 64 KiB to describe")
        if in_memfd:
            self._socket.send(wire.ASK_ROOM, handle, struct.pack("<Q", len(body)))
            if not _fill(self._mail.take(handle), body):
                raise client.Error("unavailable", "there is no room for the payload")
        self._socket.send(wire.CALL, handle, message, flags)
        return self._mail.take(handle)

    def _must_be_the_handlers(self):
        if os.getpid() != self._pid:
            raise RuntimeError("functions are called by the handler's own process, not by its children")


def _fill(frame, body):
    """Puts it into the memfd of a `room` frame; False if there is none."""
    if not frame.descriptors:
        return False
    with mmap.mmap(frame.descriptors[0], len(body)) as room:
        room[:] = body
    os.close(frame.descriptors[0])
    return True


def _leave_unless(worker):
    """Ends a child that the handler forked and that came back from it: it is no worker."""
    if os.getpid() != worker:
        print("a process that the handler forked came back from it, and is ended: a child must end "
              "itself with os._exit", file=sys.stderr, flush=True)
        os._exit(1)


def _flush_printed():
    """What has no line's end yet: before its call is answered, since it is of that call's log."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # The handler's own, or closed.
            pass


def _last_words(error):
    return str(error) if isinstance(error, patience.TookTooLong) else handler.last_words(error)


def _user_traceback(error):
    """Without the frames of this worker and of importing, which nobody asked for."""
    above = (os.path.dirname(__file__), os.path.dirname(importlib.__file__), "<frozen importlib")
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename.startswith(above):
        at = at.tb_next
    return at


def _user_frames(error):
    """The innermost ones, a text each, as Lambda has them."""
    return traceback.format_tb(_user_traceback(error))[-50:]


def _print_user_traceback(error):
    try:
        traceback.print_exception(type(error), error, _user_traceback(error))
    except Exception:  # An exception whose own text fails.
        print(type(error).__name__, file=sys.stderr)
