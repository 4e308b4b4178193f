"""Signals that ask a run to stop, heeded between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set once a signal has arrived."""

    def __init__(self) -> None:
        self.received = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; a second one interrupts at once."""
        if self.received:
            raise KeyboardInterrupt
        self.received = True


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Handlers for SIGINT and SIGTERM inside the block: stop at the next step, not amid one.

    In the main thread only, where Python allows it; elsewhere nothing is touched.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, request.handle) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
