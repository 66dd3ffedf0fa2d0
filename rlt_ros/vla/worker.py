"""Passes of a VLA in a thread of their own: a slow or frozen VLA never keeps its node from listening."""

from __future__ import annotations

import threading
import time
from collections import deque
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


@dataclass(frozen=True)
class Answer:
    """What a pass gave of a moment.

    Attributes:
        moment: that was looked at.
        made: or why there is nothing.
        late: it was looked at after the flight that it belongs to.
    """

    moment: Moment
    made: Inference | Exception
    late: bool


class Spacing:
    """Of moments that come at any rate, as many a second as are wanted."""

    def __init__(self, rate: float) -> None:
        """Want `rate` a second; 0: none."""
        self._period = 1 / rate if rate else 0.0
        self._due = -np.inf

    def wants(self, stamp: float) -> bool:
        """Whether the moment of this time is one of them; a little early is in time."""
        period, early = self._period, self._due - stamp
        if not period or period / 2 < early < 2 * period:  # more than that: a clock was set back
            return False
        self._due = (self._due if abs(early) <= period else stamp) + period
        return True


class PassWorker:
    """One pass at a time; of the moments that wait only the newest is kept, and what is to be looked at later."""

    def __init__(
        self,
        infer: Callable[[list[Moment]], list[Inference]],
        answered: Callable[[], None],
        batch: Callable[[], int] = lambda: 1,
    ) -> None:
        """Start the thread.

        Args:
            infer: one pass over up to `batch()` moments; its exceptions become answers.
            answered: called in the worker's thread when there is something to `take`.
            batch: how many moments of the past are looked at in one pass.
        """
        self._infer, self._answered, self._batch = infer, answered, batch
        self._lock = threading.Condition()
        self._waiting: Moment | None = None
        self._past: deque[Moment] = deque()
        self._catching_up = False
        self._answering = True
        self._failed: set[float] = set()
        self._answers: list[Answer] = []
        self._since: tuple[float, int] | None = None
        self._ended = False
        self.overtaken = 0
        self._thread = threading.Thread(target=self._work, name="vla", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> float:
        """Seconds a moment that the pass in progress has taken so far; 0: there is none."""
        since = self._since
        return 0.0 if since is None else (time.monotonic() - since[0]) / since[1]

    @property
    def past(self) -> int:
        """Moments that are still to be looked at when there is time."""
        return len(self._past)

    def submit(self, moment: Moment) -> Moment | None:
        """The newest moment; returns the one that was waiting and is not looked at any more."""
        with self._lock:
            overtaken, self._waiting = self._waiting, moment
            self.overtaken += overtaken is not None
            self._lock.notify()
        return overtaken

    def keep(self, moment: Moment) -> None:
        """Look at this one when there is time (`catch_up`)."""
        with self._lock:
            self._past.append(moment)
            self._lock.notify()

    def drop_oldest(self) -> None:
        """The oldest of them will not be looked at."""
        with self._lock:
            if self._past:
                self._past.popleft()

    def drop_past(self) -> None:
        """None of them will: the VLA is told something else from now on."""
        with self._lock:
            self._past.clear()

    def catch_up(self, allowed: bool) -> None:
        """Whether there is time for the past now: a pass over it after each pass over the present.

        After a failure it waits until the present is answered again; what fails twice is given up.
        """
        with self._lock:
            self._catching_up = allowed
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

    @property
    def _past_is_due(self) -> bool:
        return self._catching_up and self._answering and bool(self._past)

    def _work(self) -> None:
        late = True
        while True:
            with self._lock:
                while not (self._ended or self._waiting or self._past_is_due):
                    self._lock.wait()
                if self._ended:
                    return
                # In turns while both wait: a pass over the past, one over the present.
                late = self._past_is_due and not (late and self._waiting)
                if late:
                    moments = [self._past.popleft() for _ in range(min(max(1, self._batch()), len(self._past)))]
                else:
                    assert self._waiting is not None
                    moments, self._waiting = [self._waiting], None
                self._since = (time.monotonic(), len(moments))
            made: list[Inference] | list[Exception]
            try:
                made = self._infer(moments)
            except Exception as error:  # told by the node, in its own thread
                made = [error] * len(moments)
            with self._lock:
                self._since = None
                if self._ended:
                    return
                failed = isinstance(made[0], Exception)
                if late and failed:
                    stamps = {moment.stamp for moment in moments}
                    self._past.extendleft(m for m in reversed(moments) if m.stamp not in self._failed)
                    self._failed = stamps if stamps != self._failed else set()
                self._answering = not failed
                self._answers += [Answer(*one, late) for one in zip(moments, made, strict=True)]
                self._answered()
