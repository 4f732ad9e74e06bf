"""Who gets which frame: the thread that waits for it.

Any thread may wait. One of those that do reads the socket for all of them, a frame at a time."""

import collections
import os
import threading

from . import wire

MAIN = None  # Whoever takes the frames that nobody else waits for.


class Mail:
    def __init__(self, socket):
        self._socket = socket
        self._boxes = {MAIN: collections.deque()}  # By handle.
        self._changed = threading.Condition(threading.Lock())
        self._is_read = False

    def open(self, handle):
        with self._changed:
            self._boxes[handle] = collections.deque()

    def close(self, handle):
        """What came for it, and was not taken, is dropped."""
        with self._changed:
            del self._boxes[handle]

    def drop(self, handle):
        """The same without a lock, for frames that bring no descriptors: this thread may hold it."""
        self._boxes.pop(handle, None)

    def take(self, handle=MAIN):
        """The next frame for it. Raises wire.Gone when the daemon is."""
        box = self._boxes[handle]
        while True:
            with self._changed:
                while not box and self._is_read:
                    self._changed.wait()
                if box:
                    return box.popleft()
                self._is_read = True
            frame = None
            try:
                frame = self._socket.receive()
            finally:
                with self._changed:
                    self._is_read = False
                    if frame is not None:
                        self._put(frame)
                    self._changed.notify_all()

    def _put(self, frame):
        box = self._boxes.get(frame.handle)
        if box is None and frame.handle & wire.CALL_BIT:  # Whoever made this call was interrupted.
            for each in frame.descriptors:
                os.close(each)
            return
        (self._boxes[MAIN] if box is None else box).append(frame)
