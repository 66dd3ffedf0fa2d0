"""The emergency stop: latched, by whoever asks for it, until somebody clears it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Stops:
    """Who stops the robot, and whether that may be cleared.

    Attributes:
        reason: of the latched stop; "" without one.
    """

    def __init__(self, sources: Sequence[str], heartbeat: float) -> None:
        """Nobody stops it.

        Args:
            sources: whose silence is a stop.
            heartbeat: longest silence of a source, s; 0: any.
        """
        self.reason = ""
        self._heartbeat = heartbeat
        self._pressed: set[str] = set()
        self._heard: dict[str, float] = dict.fromkeys(sources, -np.inf)

    def latch(self, reason: str, *, held: bool = False) -> None:
        """Stop.

        Args:
            reason: published with every tick.
            held: a button is still pressed; see `released`.
        """
        self.reason = reason or "emergency stop"
        if held:
            self._pressed.add("")

    def released(self) -> None:
        """The button is no longer pressed; the stop stays latched."""
        self._pressed.discard("")

    def source(self, time: float, source: str, pressed: bool) -> None:
        """What a stop source says: pressed stops and latches, and so does its silence if a heartbeat is configured."""
        self._heard[source] = time
        if not pressed:
            self._pressed.discard(source)
            return
        self._pressed.add(source)
        if not self.reason:
            self.latch("emergency stop by topic" + (f" {source}" if len(self._heard) > 1 else ""))

    def look(self, now: float) -> None:
        """Silence of a source that was heard before is a stop."""
        lost = [source for source in self.silent(now) if self._heard[source] > -np.inf]
        if lost and not self.reason:
            self.latch(f"stop source {lost[0]} is silent")

    def silent(self, now: float) -> list[str]:
        """Sources that were not heard within the heartbeat."""
        longest = self._heartbeat
        return [source for source, at in self._heard.items() if now - at > longest] if longest else []

    def fault(self, now: float | None = None) -> str:
        """Why the stop cannot be cleared; "" if it can. Without a time nobody's silence counts."""
        if not self.reason:
            return "no emergency stop is latched"
        silent = [] if now is None else self.silent(now)
        if silent:
            return f"the stop source {', '.join(silent)} is silent: connect it first"
        return "the emergency stop is still pressed: release it first" if self._pressed else ""

    def clear(self) -> None:
        """Nobody stops it any more; `fault` must be empty."""
        self.reason = ""
