"""What of a robot's streams belongs to the phases that are recorded, whatever order it arrives in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from rlt_ros.journal.segment import Record

_BEFORE = 1_000_000_000
_AFTER = 500_000_000


class Selection:
    """Keeps what is recent, and releases it when a recorded phase turns out to have begun.

    The first steps of a phase were flown from policy inputs that arrived before it; the last ones may arrive earlier
    than the inputs that they name. One selection a robot.
    """

    def __init__(self) -> None:
        """Nothing runs."""
        self._recent: deque[Record] = deque()
        self._until = -1

    def step(self, record: Record, wanted: bool) -> Iterator[Record]:
        """A tick, and whether its phase is recorded; yields what is to be written."""
        if not wanted:
            return
        while self._recent:
            earlier = self._recent.popleft()
            if earlier.published >= record.published - _BEFORE:
                yield earlier
        self._until = max(self._until, record.published + _AFTER)
        yield record

    def beside(self, record: Record) -> Iterator[Record]:
        """A policy input or an image; yields what is to be written."""
        if record.published <= self._until:
            yield record
            return
        self._recent.append(record)
        while self._recent and self._recent[0].published < record.published - _BEFORE:
            self._recent.popleft()
