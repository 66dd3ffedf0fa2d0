"""Passes of a VLA in a thread of their own: a slow or frozen VLA never keeps its node from listening."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlt_ros.vla.backend import Inference

_END_WITHIN = 0.5


@dataclass(frozen=True)
class Moment:
    """What the VLA is to see.

    Attributes:
        images: shape (cameras, size, size, 3), RGB.
        position: joint positions, shape (J,).
        stamp: when the pictures were taken, s.
    """

    images: NDArray[np.uint8]
    position: NDArray[Any]
    stamp: float


Answer = tuple[Moment, Inference | Exception]


class PassWorker:
    """One pass at a time; of the moments that wait only the newest is kept."""

    def __init__(self, infer: Callable[[Moment], Inference], answered: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            infer: one pass; its exceptions become answers.
            answered: called in the worker's thread when there is something to `take`.
        """
        self._infer, self._answered = infer, answered
        self._lock = threading.Condition()
        self._waiting: Moment | None = None
        self._answers: list[Answer] = []
        self._since: float | None = None
        self._ended = False
        self.overtaken = 0
        self._thread = threading.Thread(target=self._work, name="vla", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> float:
        """Seconds that the pass in progress has taken so far; 0: there is none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def submit(self, moment: Moment) -> None:
        """The newest moment; one that still waits is not looked at any more."""
        with self._lock:
            self.overtaken += self._waiting is not None
            self._waiting = moment
            self._lock.notify()

    def take(self) -> list[Answer]:
        """The answers since the last call, oldest first."""
        with self._lock:
            answers, self._answers = self._answers, []
        return answers

    def end(self) -> None:
        """No further pass, and no further call of `answered`; one in progress is waited for a moment only."""
        with self._lock:
            self._ended, self._waiting = True, None
            self._lock.notify()
        self._thread.join(_END_WITHIN)

    def _work(self) -> None:
        while True:
            with self._lock:
                while self._waiting is None and not self._ended:
                    self._lock.wait()
                if self._ended:
                    return
                moment, self._waiting = self._waiting, None
                self._since = time.monotonic()
            assert moment is not None
            try:
                answer: Inference | Exception = self._infer(moment)
            except Exception as error:  # told by the node, in its own thread
                answer = error
            with self._lock:
                self._since = None
                if self._ended:
                    return
                self._answers.append((moment, answer))
                self._answered()
