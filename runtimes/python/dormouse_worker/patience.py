"""An end to code of the user's that hangs as it starts: the daemon, which would end it a little later,
could say only that it was not done in time, and not where it is."""

import contextlib
import os
import signal
import traceback

CODE = "/code"
SHARE = 0.95  # Of the time that the daemon gives, so that there is some left to say what it was.


class TookTooLong(BaseException):
    """Where the code is, for a person. No Exception: code that goes on after those is ended, too."""


@contextlib.contextmanager
def within(milliseconds):
    """Raises TookTooLong in what runs inside, once, after most of so much time. In the main thread, and
    one at a time. Code that does not come back to the interpreter is left to the daemon."""
    seconds = int(milliseconds) / 1000 * SHARE

    def ring(_, frame):
        raise TookTooLong(f"it was not done after {seconds:.3g} s: it is {_place(frame)}")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.getsignal(signal.SIGALRM) is ring:  # Else it is the code's own.
            signal.signal(signal.SIGALRM, before)


def _place(frame):
    """The innermost line of the user's own code, or of any if it is in none."""
    lines = traceback.extract_stack(frame)
    own = [each for each in lines if each.filename.startswith(CODE)]
    at = (own or lines)[-1]
    text = f"in {os.path.relpath(at.filename, CODE)} line {at.lineno}"
    return f"{text}: {at.line}" if at.line else text
