"""What of a robot's streams belongs to the phases that are recorded, whatever order it arrives in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from rlt_ros.journal.segment import Record

_BEFORE = 1_000_000_000
_AFTER = 500_000_000
_KEPT = 25_000_000_000
"""Nanoseconds: what a recorder that starts again is given of the last 20 s may come in any order of the topics."""


class Selection:
    """Keeps what is recent, and releases it when a recorded phase turns out to have begun.

    The first steps of a phase were flown from policy inputs that arrived before it; the last ones may arrive earlier
    than the inputs that they name. One selection a robot.
    """

    def __init__(self) -> None:
        """Nothing runs."""
        self._recent: deque[Record] = deque()
        self._phases: deque[tuple[int, int]] = deque([(0, -1)])
        self._to_release = False

    def step(self, record: Record, wanted: bool) -> Iterator[Record]:
        """A tick, and whether its phase is recorded; yields what is to be written."""
        if not wanted:
            return
        began, until = self._phases[-1]
        if record.published - _BEFORE > until or record.published < began:  # a new phase, or the clock was set back
            began = record.published - _BEFORE
            self._phases.append((began, record.published))
            self._to_release = True
            while self._phases[0][1] < record.published - _KEPT:
                self._phases.popleft()
        self._phases[-1] = (began, max(until, record.published + _AFTER))
        if self._to_release:
            self._to_release = False
            for _ in range(len(self._recent)):
                earlier = self._recent.popleft()
                if self._belongs(earlier):
                    yield earlier
                else:
                    self._recent.append(earlier)
                    self._to_release |= earlier.published > until
        yield record

    def beside(self, record: Record) -> Iterator[Record]:
        """A policy input or an image; yields what is to be written."""
        if self._belongs(record):
            yield record
            return
        self._recent.append(record)
        self._to_release |= record.published > self._phases[-1][1]
        while abs(self._recent[0].published - record.published) > _KEPT:
            self._recent.popleft()

    def _belongs(self, record: Record) -> bool:
        return any(began <= record.published <= until for began, until in self._phases)
