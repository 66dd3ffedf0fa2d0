"""A periodic thread with absolute deadlines, and the statistics of its period."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_BIN = 5e-5
_BINS = 2000
_SPIN = 3e-4
"""Seconds before a deadline that are waited awake: sleepers wake up late, and wait for the interpreter."""
_MCL_CURRENT_FUTURE_ON_FAULT = 7
_LOOK_AGAIN = 5e-4
"""Seconds between two looks at a clock that is not the machine's."""


class Histogram:
    """Counts of durations in bins of 0.05 ms up to 100 ms; no allocation when adding."""

    def __init__(self) -> None:
        """Start empty."""
        self._counts = [0] * (_BINS + 1)
        self.count = 0
        self.max = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[min(int(abs(seconds) / _BIN), _BINS)] += 1
        self.count += 1
        self.max = max(self.max, abs(seconds))

    def quantile(self, share: float) -> float:
        """Upper edge of the bin that holds this share of the durations, in seconds; 0 when empty."""
        wanted, seen = share * self.count, 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min((index + 1) * _BIN, self.max)
        return 0.0


@dataclass
class LoopStatistics:
    """How well the loop keeps time.

    Attributes:
        period_error: difference of two ticks' distance to the period.
        lateness: how long after its deadline a tick began.
        compute: time spent inside a tick.
        ticks: ticks done.
        missed: deadlines that passed by a whole period or more.
    """

    period_error: Histogram
    lateness: Histogram
    compute: Histogram
    ticks: int = 0
    missed: int = 0


class PeriodicThread:
    """Calls a function at a fixed rate until told to stop, on the monotonic clock or a simulated one.

    A late tick is counted; ticks that were missed are skipped, never caught up in a burst.
    """

    def __init__(
        self,
        period: float,
        tick: Callable[[float], None],
        failed: Callable[[Exception], None],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Prepare.

        Args:
            period: seconds between ticks.
            tick: called with the time; must be quick.
            failed: called once, in the thread, if `tick` raises; the thread then ends.
            clock: a simulated one, which may run slower or faster, or stand still; None: `time.monotonic`.
        """
        self._clock = clock
        self._period = period
        self._tick = tick
        self._failed = failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._priority = 0
        self._ready = threading.Event()
        self.statistics = LoopStatistics(Histogram(), Histogram(), Histogram())
        self.warning = ""

    def start(self, priority: int = 0) -> None:
        """Start ticking, with real-time priority 1-99 if given; `warning` says if that was refused."""
        self._priority = priority
        gc.collect()
        gc.freeze()
        self._thread.start()
        self._ready.wait(1.0)

    def stop(self) -> None:
        """Stop after the current tick and wait for it."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(1.0)

    def _run(self) -> None:
        self.warning = raise_priority(self._priority) if self._priority else ""
        self._ready.set()
        statistics, period = self.statistics, self._period
        read = self._clock or time.monotonic
        deadline = read() + period
        last = None
        while not self._stop.is_set():
            if self._clock is None:
                delay = deadline - time.monotonic()
                if delay > _SPIN:
                    time.sleep(delay - _SPIN)
                while time.monotonic() < deadline:
                    pass
                now = time.monotonic()
            else:
                now = self._clock()
                if now < deadline:
                    time.sleep(_LOOK_AGAIN)
                    continue
            began = time.monotonic()
            missed = int((now - deadline) / period)
            statistics.lateness.add(max(0.0, now - deadline))
            deadline += (missed + 1) * period
            statistics.missed += missed
            if last is not None:
                statistics.period_error.add(now - last - period)
            last = now
            try:
                self._tick(now)
            except Exception as error:
                self._failed(error)
                return
            statistics.compute.add(time.monotonic() - began)
            statistics.ticks += 1


def raise_priority(priority: int) -> str:
    """Ask for SCHED_FIFO and locked memory for the calling thread; returns a warning when refused."""
    try:
        # Threads started by this one (a library's, a window's) must not inherit the priority.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except (AttributeError, PermissionError, OSError) as error:
        return (
            f"no real-time priority ({error}): the loop runs with normal priority and more jitter; "
            "allow it with 'rtprio 99' in /etc/security/limits.conf or CAP_SYS_NICE"
        )
    try:
        locked = ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT_FUTURE_ON_FAULT) == 0
    except (AttributeError, OSError):
        locked = False
    return "" if locked else "memory could not be locked: page faults may delay the loop"


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Poll `condition` until it holds or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
