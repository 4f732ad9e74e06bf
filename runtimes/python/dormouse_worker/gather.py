"""The code that a template has run is copied, once, to lie side by side.

A call counts references to the code that it runs, and so makes the pages with that code its
instance's own. Where the 400 functions that a call of pandas needs lie among the thousands that it
does not, each costs such a page. Nothing but where they lie is changed: a function's `__code__` is
an equal one afterwards, which the interpreter specialises anew."""

import contextlib
import ctypes
import gc
import sys
import types


@contextlib.contextmanager
def gathered(make_room):
    """What runs within this, in this thread, until it calls nothing new: then it is copied, and goes
    on, so that the copies are specialised, too. `make_room` is called before they are made."""
    if sys.implementation.name != "cpython" or sys.getprofile() is not None:
        yield
        return
    run = _Run(make_room)
    sys.setprofile(run.see)
    try:
        yield
    finally:
        run.end()


class _Run:
    def __init__(self, make_room):
        self._make_room = make_room
        self._seen = {}  # Code, by its id.
        self._calls = self._calls_with_news = 0

    def see(self, frame, event, _):
        if event != "call":
            return
        self._calls += 1
        code = frame.f_code
        if id(code) not in self._seen:
            self._seen[id(code)] = code
            self._calls_with_news = self._calls
        elif self._calls > 4 * self._calls_with_news + 1000:
            self.end()

    def end(self):
        if sys.getprofile() != self.see:  # It has ended, or the code has set one of its own.
            return
        sys.setprofile(None)
        self._make_room()
        _copy(self._seen)


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
    """Compilers as torch's keep what they made of a function beside its code, where copies lose it."""
    get = getattr(ctypes.pythonapi, "PyUnstable_Code_GetExtra", None) or ctypes.pythonapi._PyCode_GetExtra
    kept = ctypes.c_void_p()
    return any(
        get(ctypes.py_object(code), ctypes.c_ssize_t(index), ctypes.byref(kept)) == 0 and kept.value
        for index in range(16)
    )
