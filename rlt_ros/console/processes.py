"""What the nodes' processes cost."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

_LOOK_AROUND_EVERY = 3.0


@dataclass(frozen=True)
class Cost:
    """Of a process.

    Attributes:
        pid: of it.
        cpu: percent of one core since the last look.
        memory: resident, MB.
        since: seconds since it took the place of one that had ended; infinite for a node's first.
    """

    pid: int
    cpu: float
    memory: float
    since: float


class Processes:
    """The nodes of one namespace and ROS domain that run on this machine, found by their command line."""

    def __init__(self, namespace: str) -> None:
        """Look at nothing yet."""
        self._mark = f"__ns:={namespace}"
        self._domain = os.environ.get("ROS_DOMAIN_ID", "0")
        self._found: dict[str, psutil.Process] = {}
        self._replaced: dict[str, float] = {}
        self._looked = -_LOOK_AROUND_EVERY

    def look(self) -> dict[str, Cost | None]:
        """By name of the node; None: its process has ended since."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_AROUND_EVERY:
            self._looked = now
            self._look_around()
        out: dict[str, Cost | None] = {}
        for name, process in self._found.items():
            out[name] = None
            with suppress(psutil.Error), process.oneshot():
                if process.status() != psutil.STATUS_ZOMBIE:
                    memory = round(process.memory_info().rss / 1e6, 1)
                    since = time.monotonic() - self._replaced.get(name, -math.inf)
                    out[name] = Cost(process.pid, process.cpu_percent(), memory, since)
        return out

    def _look_around(self) -> None:
        known = {process.pid for process in self._found.values() if process.is_running()}
        for pid in psutil.pids():
            if pid in known:
                continue
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                words = process.cmdline()
                if self._mark in words and process.environ().get("ROS_DOMAIN_ID", "0") == self._domain:
                    name = next((word.rpartition("/")[2] for word in words if word.endswith("_node")), "")
                    if name and process.status() != psutil.STATUS_ZOMBIE:
                        process.cpu_percent()  # the first call begins its measurement
                        if name in self._found:
                            self._replaced[name] = time.monotonic()
                        self._found[name] = process
