"""Has a table of jobs done, here or on a Ray cluster; what is finished is left, what was interrupted goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rlt_ros.offline.plan import Job
from rlt_ros.offline.work import Workshop, locked, newest, same
from rlt_ros.report.records import read_record, write_record

_ATTEMPTS = 2
_POLL = 0.2


@dataclass(frozen=True)
class SweepConfig:
    """Where and how.

    Attributes:
        runs: directory of the runs; nothing in it is needed once the records are there.
        results: directory of the records.
        jobs: processes at a time on this machine.
        nice: how far they step back for others.
        bundle: of the VLA; None: the shipped one.
        ray: address of a Ray cluster that does the work; empty: this machine does.
    """

    runs: Path
    results: Path
    jobs: int = 1
    nice: int = 10
    bundle: Path | None = None
    ray: str = ""

    @property
    def workshop(self) -> Workshop:
        """What a job needs to know of it."""
        return Workshop(self.runs, self.nice, self.bundle)


class Place(Protocol):
    """Where jobs are done, as many at a time as there is room for."""

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Have it done as soon as there is room; the result is its record."""

    def begun(self, job: Job, future: Future[dict[str, Any]]) -> bool:
        """Whether somebody works on it."""

    def close(self) -> None:
        """End what runs."""


@dataclass
class Status:
    """Where a sweep is.

    Attributes:
        total: jobs.
        finished: names of those that have a record.
        failed: name -> where to read why.
        running: name -> minutes of robot time so far.
        minutes: of robot time of all jobs.
        done: minutes of robot time that are behind it, those of earlier lives too.
        eta: seconds until all is done, as it goes now; None: nothing is known yet.
    """

    total: int
    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)
    minutes: float = 0.0
    done: float = 0.0
    eta: float | None = None


class Sweep:
    """The jobs that are left, and who works on them."""

    def __init__(self, jobs: list[Job], config: SweepConfig) -> None:
        """Look at what is there.

        Raises:
            ConfigError: a record or a run of that name is of another job.
        """
        self.config = config
        self.status = Status(len(jobs), minutes=sum(job.robot_minutes for job in jobs))
        self._jobs = {job.name: job for job in jobs}
        self._left = [job for job in jobs if not self._finished(job)]
        self.status.finished = [job.name for job in jobs if self._finished(job)]
        self._attempts: dict[str, int] = {}
        self._futures: dict[str, Future[dict[str, Any]]] = {}
        self._began, self._done_before = time.monotonic(), 0.0

    def run(self, tell: Callable[[Status], None] = lambda _: None) -> Status:
        """Until nothing is left to be done.

        Args:
            tell: called now and then.

        Raises:
            ConfigError: another sweep works in the same directory, or the cluster cannot be reached.
            KeyboardInterrupt: somebody wants it to end; its processes have ended then.
        """
        with locked(self.config.runs) as lock:
            self._began, self._done_before = time.monotonic(), self._minutes_done()
            place = self._place(lock)
            try:
                for job in self._left:
                    self._submit(place, job)
                while self._futures:
                    time.sleep(_POLL)
                    self._look(place)
                    tell(self._told(place))
            finally:
                place.close()
        self._futures.clear()
        return self._told(place)

    def _place(self, lock: int) -> Place:
        if self.config.ray:
            from rlt_ros.offline.ray_place import Cluster  # an extra

            return Cluster(self.config.ray, self.config.workshop)
        from rlt_ros.offline.here import Here

        return Here(self.config.workshop, self.config.jobs, lock)

    # -- one job ---------------------------------------------------------------------------------------------

    def _finished(self, job: Job) -> bool:
        path, begun = self.config.results / f"{job.name}.json", self.config.runs / job.name / "job.json"
        if path.is_file():
            same(job, read_record(path)["job"], path)
        elif begun.is_file():
            same(job, json.loads(begun.read_text()), begun.parent)
        return path.is_file()

    def _submit(self, place: Place, job: Job) -> None:
        self._attempts[job.name] = self._attempts.get(job.name, 0) + 1
        self._futures[job.name] = place.submit(job)

    def _look(self, place: Place) -> None:
        """See which jobs have ended."""
        for name, future in list(self._futures.items()):
            if not future.done():
                continue
            job, attempt, log = self._jobs[name], self._attempts[name], self.config.runs / name / "log.txt"
            del self._futures[name]
            error = future.exception()
            if error is None:
                path = self.config.results / f"{name}.json"
                write_record(path, {"job": job.described(), "attempts": attempt, **future.result()})
                self.status.finished.append(name)
                continue
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file:
                print(f"attempt {attempt}: {error}", file=file)
            if attempt < _ATTEMPTS:
                self._submit(place, job)
            else:
                self.status.failed[name] = str(log)

    # -- all of them -----------------------------------------------------------------------------------------

    def _told(self, place: Place) -> Status:
        status = self.status
        begun = [self._jobs[name] for name, future in self._futures.items() if place.begun(self._jobs[name], future)]
        status.running = {job.name: self._minutes_of(job) for job in begun}
        status.done = self._minutes_done()
        elapsed, gained = time.monotonic() - self._began, status.done - self._done_before
        failed = sum(self._jobs[name].robot_minutes for name in status.failed)
        left = status.minutes - status.done - failed
        status.eta = left * elapsed / gained if gained > 0 else None
        return status

    def _minutes_done(self) -> float:
        finished, failed = set(self.status.finished), set(self.status.failed)
        return sum(
            job.robot_minutes if name in finished else self._minutes_of(job)
            for name, job in self._jobs.items()
            if name not in failed
        )

    def _minutes_of(self, job: Job) -> float:
        """Robot time of a job that is not finished, from the last line of its episodes.csv."""
        run = newest(self.config.runs / job.name)
        try:
            *_, last = (run / "episodes.csv").read_text().splitlines() if run is not None else [""]
            return min(job.robot_minutes, float(last.split(",")[1]))
        except (OSError, ValueError, IndexError):
            return 0.0
