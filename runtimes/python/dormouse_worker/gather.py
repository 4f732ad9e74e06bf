"""The motions of a call, gone through in a template before it is forked: what is done the first time
only is done, the code that they run is brought together in memory, and the interpreter specialises it.

A call counts references to the code that it runs, and so makes the pages with that code its
instance's own. Where the 400 functions that a call of pandas needs lie among the thousands that it
does not, each costs such a page; so copies of them are made, one beside the other. A function's
`__code__` is an equal one afterwards; code that anything else refers to by itself stays where it is.
Python 3.13 specialises no call of a function whose `__code__` was set, so there nothing is copied, and
fewer objects are counted."""

import ctypes
import gc
import sys
import time
import types
import weakref

RUNS = 20  # The interpreter rewrites code that has run several times.
SECONDS_MAX = 2


def rehearse(motions, make_room):
    """`make_room` is called before the copies are made. Raises what `motions` raises."""
    motions()
    seen = _code_run_by(motions)
    if seen:
        make_room()
        _copy(seen)
    end = time.monotonic() + SECONDS_MAX
    for _ in range(RUNS):
        if time.monotonic() > end:
            break
        motions()


def _code_run_by(motions):
    """Code by its id, of this thread's; none where it is not to be copied, or is profiled already."""
    seen = {}
    is_copied = sys.implementation.name == "cpython" and sys.version_info < (3, 13)
    if not is_copied or sys.getprofile() is not None:
        motions()
        return seen

    def see(frame, event, _):
        if event == "call":
            seen[id(frame.f_code)] = frame.f_code

    sys.setprofile(see)
    try:
        motions()
    finally:
        if sys.getprofile() is see:
            sys.setprofile(None)
    return seen


def _copy(seen):
    copies = {}

    def copy(code):
        if id(code) not in seen or _is_known_elsewhere(code):
            return code
        if id(code) not in copies:
            inner = (copy(each) if isinstance(each, types.CodeType) else each for each in code.co_consts)
            copies[id(code)] = code.replace(co_consts=tuple(inner))
        return copies[id(code)]

    for each in gc.get_objects():
        if type(each) is types.FunctionType and id(each.__code__) in seen:
            each.__code__ = copy(each.__code__)


def _is_known_elsewhere(code):
    """By weak reference, by a tool that monitors it, or by a compiler, as torch's is, that keeps what
    it made of a function beside its code."""
    return weakref.getweakrefcount(code) > 0 or _is_monitored(code) or _has_extra(code)


def _is_monitored(code):
    monitoring = getattr(sys, "monitoring", None)  # From 3.12 on.
    return monitoring is not None and any(
        monitoring.get_tool(tool) is not None and monitoring.get_local_events(tool, code) != 0
        for tool in range(6)
    )


def _has_extra(code):
    get = getattr(ctypes.pythonapi, "PyUnstable_Code_GetExtra", None) or ctypes.pythonapi._PyCode_GetExtra
    kept = ctypes.c_void_p()
    return any(
        get(ctypes.py_object(code), ctypes.c_ssize_t(index), ctypes.byref(kept)) == 0 and kept.value
        for index in range(16)
    )
