"""A loaded worker as a template: forks instances of itself, by libdormouse, which does what
dormouse.h does for native programs. What is inherited and what is made new:
docs/formats/template.md."""

import contextlib
import ctypes
import itertools
import os
import sys
import threading
import time

_LIBRARY = "/opt/dormouse/libdormouse.so"
_SNAPSHOT_LIBRARY = "/opt/dormouse/libdormouse_snapshot.so"
_FORK, _SAVE = 1, 2  # What the daemon wants of a template.
_PR_SET_DUMPABLE = 4
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class _Slot(ctypes.Structure):
    _fields_ = [
        ("root", ctypes.c_char * 64),
        ("uid", ctypes.c_uint32),
        ("socket", ctypes.c_int),
        ("output", ctypes.c_int),
    ]


def _library():
    return ctypes.CDLL(_LIBRARY, use_errno=True)


def drop_capabilities():
    """Of a worker that will not fork: it has no use for what a template needs."""
    if _library().dormouse_drop_capabilities() != 0:
        raise OSError(ctypes.get_errno(), "dropping capabilities")


def hide_memory():
    """From other processes and from cores: from here on it may hold secrets."""
    _library().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextlib.contextmanager
def one_thread_each():
    """Numeric libraries start a pool of threads when they are imported, unless told not to: a fork
    would inherit their locks, and not the threads. What the user set counts again afterwards."""
    before = {name: os.environ.get(name) for name in _THREADS}
    for name in _THREADS:
        os.environ[name] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def why_not():
    """Why this process cannot be forked, in words; None if it can as far as one can tell from here.
    A fork has no thread but the one that forked. Threads of libraries are seen from outside."""
    for each in threading.enumerate():
        if each is not threading.main_thread():
            module = getattr(getattr(each, "_target", None), "__module__", None) or type(each).__module__
            return f"{module} started the thread {each.name}, which a fork would not have"
    return None


def fill_holes():
    """What is free between objects is given away, so that forks allocate in pages of their own."""
    c = ctypes.CDLL(None)
    interpreter = ctypes.pythonapi
    allocators = [(c.malloc, c.free, 4096, 8)]
    if sys.implementation.name == "cpython" and os.environ.get("PYTHONMALLOC") is None:
        allocators.append((interpreter.PyObject_Malloc, interpreter.PyObject_Free, 512, 0))
    fill = ctypes.PyDLL(_LIBRARY).dormouse_fill_holes  # The interpreter's allocator needs its lock.
    for take, give, size_max, header in allocators:
        pointers = [ctypes.cast(each, ctypes.c_void_p) for each in (take, give)]
        fill(*pointers, ctypes.c_size_t(size_max), ctypes.c_size_t(header))


class Snapshot:
    """What a template is saved as, and woken from: docs/formats/snapshot.md. To be made before
    anything is loaded."""

    def __init__(self, number, options):
        self._number = number
        self._library = ctypes.PyDLL(_SNAPSHOT_LIBRARY)  # What is saved holds the interpreter's lock.
        self._library.dormouse_snapshot_machine.restype = ctypes.c_char_p
        passing = ("snapshot", "start_ms", "settle_ms")
        said = "".join(f"{name}={value}\n" for name, value in sorted(options.items()) if name not in passing)
        self._key = self._library.dormouse_snapshot_machine() + b"\n" + said.encode("utf-8", "surrogateescape")

    def wake(self):
        """Returns only if it could not: why."""
        why = ctypes.create_string_buffer(512)
        self._library.dormouse_snapshot_wake(self._number, self._key, why, ctypes.c_size_t(len(why)))
        return why.value.decode("utf-8", "replace")

    def save(self):
        """None: the daemon is gone. Otherwise whether this is one that was woken."""
        side = self._library.dormouse_snapshot_save(self._number, self._key)
        return None if side < 0 else side == 1

    def settle(self):
        """Of one that was woken, while nobody wants anything of it. Whether it is done."""
        return self._library.dormouse_snapshot_settle(self._number) == 1


def serve(number, settle, snapshot):
    """Forks an instance whenever the daemon wants one. Returns only in instances. `settle` is called
    once, after the first fork."""
    library = _library()
    slot = _Slot()
    settled, is_whole = False, True
    while True:
        if not is_whole:
            is_whole = snapshot.settle()
        wanted = library.dormouse_wait_fork(number, ctypes.byref(slot))
        if wanted == _SAVE and snapshot:
            was_woken = snapshot.save()
            if was_woken is None:
                break
            is_whole = not was_woken
            continue
        if wanted != _FORK:
            break
        # The interpreter's own fork: modules that asked to be told of it are.
        if os.fork() == 0:
            if library.dormouse_enter(number, ctypes.byref(slot)) != 0:
                os._exit(125)
            _take_over_environment()
            return
        os.close(slot.socket)
        os.close(slot.output)
        if not settled:
            settle()
            settled = True
    os._exit(0)


def _take_over_environment():
    """What setenv() has put into the environment: os.environ is a copy, made at the start."""
    # The whole program's, not a library's own: the interpreter may have a copy in its place.
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    for line in itertools.takewhile(bool, environ):
        name, _, value = line.partition(b"=")
        if os.environb.get(name) != value:
            os.environb[name] = value
    time.tzset()


def make_new():
    """Random states that were copied, and that nothing else makes new. `random` is reseeded by the
    interpreter, OpenSSL's by itself as the process id differs."""
    seed = int.from_bytes(os.urandom(4), "little")
    if "numpy.random" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].seed()
