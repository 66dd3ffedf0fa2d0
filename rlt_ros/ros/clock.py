"""The clock that a node lives by: the machine's monotonic one, or `/clock` where `use_sim_time` is set."""

from __future__ import annotations

import threading
import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node


class LoopClock:
    """Seconds that never go back: a simulated clock that is reset goes on from where it stood."""

    def __init__(self, node: Node) -> None:
        """The clock of a node, as its parameter `use_sim_time` says."""
        self.simulated = bool(node.get_parameter("use_sim_time").value)
        self._clock = node.get_clock()
        self._lock = threading.Lock()
        self._last = self._before_resets = 0.0

    def now(self) -> float:
        """For all that is remembered and compared."""
        if not self.simulated:
            return time.monotonic()
        with self._lock:
            simulated = self.ros()
            if simulated < self._last:
                self._before_resets += self._last - simulated
            self._last = simulated
            return self._before_resets + simulated

    def ros(self) -> float:
        """For stamps."""
        return self._clock.now().nanoseconds * 1e-9 if self.simulated else time.time()

    def stamp(self, at: float) -> float:
        """The stamp of a moment on `now`."""
        return at + self.ros() - self.now()

    def local(self, stamp: float, longest: float = 1.0) -> float | None:
        """The moment of a stamp that was made on this clock; None: it is in the future, or older than `longest`."""
        age = self.ros() - stamp
        return self.now() - max(age, 0.0) if -0.05 <= age <= longest else None


STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that must not stand still with a simulated clock."""
