"""Times of others on our own clock.

State lives on a monotonic clock. A stamp is compared with stamps of the same source only, and with now: whoever's clock
differs is heard all the same, but never believed to speak of the future.
"""

from __future__ import annotations

_AHEAD = 0.05
"""How far clocks that are kept together may be apart, s."""
_LATE = 5.0
"""Beyond this a stamp is of another clock, and no message that was on its way, s."""
_PROOF = 1.0
"""Seconds for which stamps of a clock that is far behind must go on before they are used."""
_DRIFT = 5e-4
"""How fast two clocks may drift apart, s/s; ten times that of a bad one."""
_EVEN = 0.2
"""How unevenly stamps and arrivals may go on, s."""


class SourceClock:
    """One source's."""

    def __init__(self) -> None:
        """Nothing was heard."""
        self.difference = 0.0
        """How far the source's clock is ahead of ours, where it is another one; 0: it is ours."""
        self._last: tuple[float, float] | None = None
        self._since = 0.0
        self._offset = 0.0

    def local(self, stamp: float, now: float, ros: float) -> float | None:
        """When something was stamped, on our monotonic clock; None: its stamp says nothing.

        Args:
            stamp: seconds on the source's clock.
            now: seconds on our monotonic clock.
            ros: now on the clock that stamps of ours have.
        """
        age = ros - stamp
        if -_AHEAD <= age <= _LATE:
            self._last, self.difference = None, 0.0
            return now - max(age, 0.0)
        before, self._last = self._last, (stamp, now)
        goes_on = before is not None and stamp > before[0] and abs(stamp - before[0] - (now - before[1])) <= _EVEN
        if not goes_on:
            self._since, self._offset = now, now - stamp
        # The message that travelled fastest tells best how far the clocks are apart; clocks drift, so it is forgotten.
        waited = now - before[1] if before is not None else 0.0
        self._offset = min(self._offset + _DRIFT * waited, now - stamp)
        if age > 0 and now - self._since < _PROOF:
            return None
        self.difference = -age
        return stamp + self._offset
