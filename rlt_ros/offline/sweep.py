"""Runs a table of jobs as processes on this machine; what is finished is left, what was interrupted goes on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlt_ros.bringup.runner import DIE_WITH_PARENT
from rlt_ros.config import ConfigError
from rlt_ros.offline.ablations import ablated
from rlt_ros.offline.plan import BASE, Job
from rlt_ros.offline.train import read_settings
from rlt_ros.provenance import provenance
from rlt_ros.report.records import facts, read_record, record_of_run, write_record
from rlt_ros.rl.checkpoint import REPLAY_FILE
from rlt_ros.sim.cell import CONTROL_PERIOD

_ATTEMPTS = 2
_POLL = 0.2
_LOCKED = 30.0
"""Seconds in which processes of a sweep that was killed have ended."""
_STOP = 20.0
"""Seconds between a wish to end and the end of patience."""


@dataclass(frozen=True)
class SweepConfig:
    """Where and how.

    Attributes:
        runs: directory of the runs; nothing in it is needed once the records are there.
        results: directory of the records.
        jobs: processes at a time.
        nice: how far they step back for others.
        bundle: of the VLA; None: the shipped one.
    """

    runs: Path
    results: Path
    jobs: int = 1
    nice: int = 10
    bundle: Path | None = None


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


@dataclass
class _Process:
    """A job that runs."""

    job: Job
    popen: subprocess.Popen[bytes]
    attempt: int


class Sweep:
    """A queue of jobs and the processes that work on it."""

    def __init__(self, jobs: list[Job], config: SweepConfig) -> None:
        """Look at what is there.

        Raises:
            ConfigError: a record of that name is of another job.
        """
        self.config = config
        self.status = Status(len(jobs), minutes=sum(job.robot_minutes for job in jobs))
        self._jobs = {job.name: job for job in jobs}
        self._queue = [(job, 1) for job in jobs if not self._finished(job)]
        self.status.finished = [job.name for job in jobs if self._finished(job)]
        self._processes: list[_Process] = []
        self._began, self._done_before = time.monotonic(), 0.0

    def run(self, tell: Callable[[Status], None] = lambda _: None) -> Status:
        """Until nothing is left to be done.

        Args:
            tell: called now and then.

        Raises:
            ConfigError: another sweep works in the same directory.
            KeyboardInterrupt: somebody wants it to end; its processes have ended then.
        """
        with _locked(self.config.runs) as self._lock:
            self._began, self._done_before = time.monotonic(), self._minutes_done()
            try:
                while self._queue or self._processes:
                    while self._queue and len(self._processes) < self.config.jobs:
                        self._start(*self._queue.pop(0))
                    time.sleep(_POLL)
                    self._look()
                    tell(self._told())
            finally:
                self._stop()
        return self._told()

    # -- one job ---------------------------------------------------------------------------------------------

    def _finished(self, job: Job) -> bool:
        path = self.config.results / f"{job.name}.json"
        if path.is_file():
            _same(job, read_record(path)["job"], path)
        return path.is_file()

    def _start(self, job: Job, attempt: int) -> None:
        directory = self.config.runs / job.name
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / "job.json").is_file():
            _same(job, json.loads((directory / "job.json").read_text()), directory)
        (directory / "job.json").write_text(json.dumps(job.described()))
        run = _newest(directory)
        if run is not None and (run / "summary.json").is_file():
            self._keep(job, record_of_run(run), attempt)  # only the record was missing
            return
        arguments = job.arguments(directory, self.config.bundle)
        if run is not None and any(run.glob(f"checkpoints/step-*/{REPLAY_FILE}")):
            arguments = ["train", "--resume", str(run), "--minutes", f"{job.minutes:g}"]
        elif run is not None:
            shutil.rmtree(run)  # it did not come as far as its first checkpoint
        nice = ("nice", "-n", str(self.config.nice)) if self.config.nice else ()
        command = [*DIE_WITH_PARENT, *nice, sys.executable, "-m", "rlt_ros.cli", *arguments]
        with (directory / "log.txt").open("a") as log, (directory / "out.json").open("w") as out:
            print("$ rlt", *arguments, file=log, flush=True)
            popen = subprocess.Popen(
                command,
                stdout=out,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                pass_fds=(self._lock,),
            )
        self._processes.append(_Process(job, popen, attempt))

    def _look(self) -> None:
        """See which processes have ended."""
        for process in list(self._processes):
            code = process.popen.poll()
            if code is None:
                continue
            self._processes.remove(process)
            job, directory = process.job, self.config.runs / process.job.name
            try:
                if code:
                    raise ConfigError(f"it ended with code {code}")
                if job.method == BASE:
                    record = {"facts": facts(provenance(["rlt", *job.arguments(directory, self.config.bundle)]))}
                    record |= json.loads((directory / "out.json").read_text().strip().splitlines()[-1])
                else:
                    run = _newest(directory)
                    record = record_of_run(run if run is not None else directory)
                self._keep(job, record, process.attempt)
            except (ValueError, IndexError, OSError) as error:
                with (directory / "log.txt").open("a") as log:
                    print(f"attempt {process.attempt}: {error}", file=log)
                if process.attempt < _ATTEMPTS:
                    self._queue.append((job, process.attempt + 1))
                else:
                    self.status.failed[job.name] = str(directory / "log.txt")

    def _keep(self, job: Job, record: dict[str, Any], attempt: int) -> None:
        if job.method != BASE:
            run = _newest(self.config.runs / job.name)
            assert run is not None
            _, config, learner = read_settings(run)
            record["reaction_ms"] = round(1e3 * CONTROL_PERIOD * ablated(config.without, learner)[1].chunk)
        path = self.config.results / f"{job.name}.json"
        write_record(path, {"job": job.described(), "attempts": attempt, **record})
        self.status.finished.append(job.name)

    # -- all of them -----------------------------------------------------------------------------------------

    def _told(self) -> Status:
        status = self.status
        status.running = {process.job.name: self._minutes_of(process.job) for process in self._processes}
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
        run = _newest(self.config.runs / job.name)
        try:
            *_, last = (run / "episodes.csv").read_text().splitlines() if run is not None else [""]
            return min(job.robot_minutes, float(last.split(",")[1]))
        except (OSError, ValueError, IndexError):
            return 0.0

    def _stop(self) -> None:
        for process in self._processes:
            process.popen.terminate()
        for process in self._processes:
            try:
                process.popen.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()


def _same(job: Job, made: dict[str, Any], path: Path) -> None:
    """Refuse what was made of another job with the same name.

    Raises:
        ConfigError: it was.
    """
    differ = [key for key, value in job.described().items() if made.get(key) != value]
    if differ:
        raise ConfigError(f"{path} was made with another {', '.join(differ)}: move it away, or set them back")


def _newest(directory: Path) -> Path | None:
    """The newest run in a job's directory."""
    return max((path.parent for path in directory.glob("*/config.json")), default=None)


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """A directory in which no other sweep works, nor a process that one has left behind: they hold the lock too.

    Raises:
        ConfigError: somebody else has it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        until = time.monotonic() + _LOCKED
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ConfigError(f"another sweep works in {directory}") from None
                time.sleep(_POLL)
        yield file.fileno()
