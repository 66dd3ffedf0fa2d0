"""The jobs of a sweep as processes on this machine."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rlt_ros.offline.plan import Job
from rlt_ros.offline.work import Workshop, do

_STOP = 20.0
"""Seconds between a wish to end and the end of patience."""


class Here:
    """See `sweep.Place`. A thread waits for each process."""

    def __init__(self, workshop: Workshop, jobs: int, lock: int) -> None:
        """Do `jobs` at a time; `lock` is the open file that says that this sweep works here."""
        self._workshop, self._lock = workshop, lock
        self._threads = ThreadPoolExecutor(jobs)
        self._guard = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """See `sweep.Place`."""
        return self._threads.submit(do, job, self._workshop, (self._lock,), self._started)

    def begun(self, job: Job, future: Future[dict[str, Any]]) -> bool:  # noqa: ARG002
        """See `sweep.Place`."""
        return future.running()

    def close(self) -> None:
        """See `sweep.Place`."""
        self._threads.shutdown(wait=False, cancel_futures=True)  # else each end would begin the next job
        with self._guard:
            self._closed = True
            processes = [process for process in self._processes if process.poll() is None]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
        self._threads.shutdown()

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        with self._guard:
            self._processes.append(process)
            if self._closed:
                process.terminate()
