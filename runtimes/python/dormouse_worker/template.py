"""A loaded worker as a template: forks instances of itself, by libdormouse, which does what
dormouse.h does for native programs. What is inherited and what is made new:
docs/formats/template.md."""

import contextlib
import ctypes
import os
import sys

_LIBRARY = "/opt/dormouse/libdormouse.so"
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


def describe():
    """For people: what else runs in this process."""
    threads = []
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/comm") as name:
                threads.append(name.read().strip())
    return {"threads beside the first": ", ".join(sorted(threads))} if threads else {}


def serve(number):
    """Forks an instance whenever the daemon wants one. Returns only in instances."""
    library = _library()
    slot = _Slot()
    while library.dormouse_wait_fork(number, ctypes.byref(slot)) == 1:
        # The interpreter's own fork: modules that asked to be told of it are.
        if os.fork() == 0:
            if library.dormouse_enter(number, ctypes.byref(slot)) != 0:
                os._exit(125)
            _make_new()
            return
        os.close(slot.socket)
        os.close(slot.output)
    os._exit(0)


def _make_new():
    """Random states that were copied, and that nothing else makes new. `random` is reseeded by the
    interpreter, OpenSSL's by itself as the process id differs."""
    seed = int.from_bytes(os.urandom(4), "little")
    if "numpy.random" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].seed()
