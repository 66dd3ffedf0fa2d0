"""The jobs of a sweep on a Ray cluster: Ray says where and when, and again where a machine was lost."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import Future
from typing import Any

from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy
from rlt_ros.offline.plan import Job
from rlt_ros.offline.work import Workshop, do

_KNOCK = 5.0
"""Seconds in which a port answers. Ray itself would try for minutes."""
_LOST = 5
"""Machines that may be lost under one job; that is none of its own failures."""


class Cluster:
    """See `sweep.Place`. One processor core a job; `rlt_ros` and the bundle must be installed on every machine."""

    def __init__(self, address: str, workshop: Workshop) -> None:
        """Join a cluster.

        Args:
            address: as `ray.init` has it: HOST:PORT, ray://HOST:PORT or auto.
            workshop: where its machines work. Where that is no directory of theirs in common, records come back all
                the same, but a job whose machine was lost begins anew.

        Raises:
            ConfigError: Ray is not installed, or nothing answers.
        """
        try:
            import ray
        except ImportError as error:
            raise ConfigError(remedy(error, "sweep")) from error
        self._ray, self._workshop = ray, workshop
        try:
            _knock(address)
            ray.init(address, log_to_driver=False, configure_logging=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster answers at {address}: {error}") from error
        self._do = ray.remote(num_cpus=1, max_retries=_LOST)(do)
        self._tasks: list[Any] = []

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """See `sweep.Place`."""
        task = self._do.remote(job, self._workshop)
        self._tasks.append(task)
        future: Future[dict[str, Any]] = task.future()
        return future

    def begun(self, job: Job, future: Future[dict[str, Any]]) -> bool:
        """See `sweep.Place`; known where the directory of the runs is shared."""
        return not future.done() and (self._workshop.runs / job.name / "job.json").is_file()

    def close(self) -> None:
        """See `sweep.Place`."""
        for task in self._tasks:
            with contextlib.suppress(Exception):  # it is done, or its machine is lost
                self._ray.cancel(task, force=True)
        self._ray.shutdown()


def _knock(address: str) -> None:
    """See whether there is anybody.

    Raises:
        OSError: nobody opens.
        ValueError: that is no address.
    """
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ValueError("write HOST:PORT, ray://HOST:PORT or auto")
    socket.create_connection((host, int(port)), _KNOCK).close()
